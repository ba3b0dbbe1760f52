/**
 * What an operator could take instead, measured in turn with the action on the same HAProxy:
 * haproxy-auth-request asking oauth2-proxy, and Apache with mod_auth_openidc in HAProxy's place.
 * None of them belongs to this project: each is compared only where it is named on the command line.
 */
import { type ChildProcess, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { benchAudience, benchIssuer, type Tokens } from '../tokens.ts'
import { frontConfig, type Variant, variantsOf } from './configs.ts'
import { pacedPerSecond } from './load.ts'
import { median, round } from './numbers.ts'
import { memory, startProgram, untilAnswers } from './programs.ts'
import { type Bench, type StackOptions, withStack } from './stack.ts'
import { cpuUs, measure, ratioOf, type Sample, summarize } from './variants.ts'

/** Where the peers are; one that is not named is left out. */
export interface PeerPaths {
  readonly authRequest?: string | undefined
  readonly oauth2Proxy?: string | undefined
  readonly apache?: string | undefined
}

interface Peer {
  readonly name: string
  readonly requests: number
  readonly stack: StackOptions
}

interface PeerSample extends Sample {
  /** Highest memory of the program that HAProxy asks. */
  readonly askedMiB: number
}

/** What the peers are compared with: the fastest way of this version. */
function ownOf(version: string): Variant {
  const fast = 'fast lane, hot cache'
  return variantsOf(version).includes(fast) ? fast : 'action, hot cache'
}

/** Measures this project's fastest way and every peer that is there; undefined where none is. */
export async function comparePeers(
  bench: Bench,
  tokens: Tokens,
  authority: string,
  rounds: number,
  paths: PeerPaths,
) {
  const peers = findPeers(bench, tokens, authority, paths)
  if (peers.length < 2) return undefined
  const samples = new Map<string, PeerSample[]>(peers.map(({ name }) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const peer of peers) {
      console.error(`round ${round} of ${rounds}: ${peer.name}`)
      samples.get(peer.name)?.push(await measurePeer(bench, peer, tokens.file))
    }
  }
  const results = peers.map(({ name }) => {
    const all = samples.get(name) ?? []
    return {
      variant: name,
      ...summarize(all),
      askedCpuUs: round(median(all.map(({ askedCpuUs }) => askedCpuUs)), 1),
      askedMiB: Math.max(...all.map(({ askedMiB }) => askedMiB)),
    }
  })
  const ofOwn = samples.get(ownOf(bench.version)) ?? []
  const ratios = peers.slice(1).map(({ name }) => {
    const all = samples.get(name) ?? []
    return {
      peer: name,
      actionHasTimesThroughput: ratioOf(ofOwn, all, ({ perSecond }) => perSecond),
      peerTakesTimesCpu: ratioOf(all, ofOwn, totalCpuUs),
    }
  })
  return { pacedPerSecond, versions: readVersions(paths), results, ratios }
}

/** Of HAProxy, or what stands in its place, and of what it asks; the application is not in it. */
function totalCpuUs(sample: PeerSample): number {
  return cpuUs(sample) + sample.askedCpuUs
}

function findPeers(bench: Bench, tokens: Tokens, authority: string, paths: PeerPaths): Peer[] {
  const own = (variant: Variant) => (ports: Parameters<typeof frontConfig>[1]) =>
    frontConfig(variant, ports, bench.files)
  const fastest = ownOf(bench.version)
  const peers: Peer[] = [{ name: fastest, requests: 30_000, stack: { config: own(fastest) } }]
  const { authRequest, oauth2Proxy, apache } = paths
  if (authRequest !== undefined && oauth2Proxy !== undefined) {
    const name = 'haproxy-auth-request and oauth2-proxy'
    // Required by its HTTP client, and not used in this exchange.
    writeFileSync(join(bench.files.folder, 'json.lua'), 'return {}\n')
    const startVerifier = ({ verifier }: { verifier: number }) =>
      startOauth2Proxy(oauth2Proxy, verifier, authority)
    peers.push({ name, requests: 6_000, stack: { config: own(name), startVerifier } })
  }
  if (apache !== undefined) {
    const startFront = ({ front, application }: { front: number; application: number }) =>
      startApache(apache, { front, application }, tokens, bench.files.folder)
    const name = 'Apache with mod_auth_openidc'
    peers.push({ name, requests: 10_000, stack: { config: own('alone'), startFront } })
  }
  return peers
}

async function measurePeer(bench: Bench, peer: Peer, tokenFile: string): Promise<PeerSample> {
  return withStack(bench, peer.stack, async (stack) => {
    if (peer.name !== ownOf(bench.version)) await requireRefusal(stack.ports.front, bench.token)
    const sample = await measure(bench, stack, tokenFile, peer.requests)
    // Where nothing is asked, the stand-in has only been the application.
    if (peer.stack.startVerifier === undefined) return { ...sample, askedCpuUs: 0, askedMiB: 0 }
    return { ...sample, askedMiB: memory(stack.verifier).highestMiB }
  })
}

/** A peer that was set up wrongly could admit everybody, and quickly. */
async function requireRefusal(port: number, token: string): Promise<void> {
  const signature = token.lastIndexOf('.') + 1
  const forged = `${token.slice(0, signature)}${[...token.slice(signature)].reverse().join('')}`
  const headers = { authorization: `Bearer ${forged}` }
  const { status } = await fetch(`http://127.0.0.1:${port}/orders`, { headers, redirect: 'manual' })
  if (status !== 401 && status !== 403) throw new Error(`a forged token is answered ${status}`)
}

/** Bearer tokens only, no session, no log: what it needs for this and nothing that slows it down. */
async function startOauth2Proxy(
  path: string,
  port: number,
  authority: string,
): Promise<ChildProcess> {
  const address = `127.0.0.1:${port}`
  const child = startProgram([
    path,
    `--http-address=${address}`,
    '--provider=oidc',
    '--skip-jwt-bearer-tokens',
    '--skip-oidc-discovery',
    `--oidc-issuer-url=${benchIssuer}`,
    `--oidc-jwks-url=${authority}/keys`,
    `--login-url=${authority}/authorize`,
    `--redeem-url=${authority}/token`,
    `--client-id=${benchAudience}`,
    '--client-secret=bench',
    `--cookie-secret=${'0'.repeat(32)}`,
    '--email-domain=*',
    '--upstream=static://200',
    '--set-xauthrequest',
    '--reverse-proxy',
    '--trusted-proxy-ip=127.0.0.1',
    '--standard-logging=false',
    '--auth-logging=false',
    '--request-logging=false',
  ])
  await untilAnswers(`http://${address}/ping`, child)
  return child
}

/** As a resource server and reverse proxy; the key is a file, which asks for less than a key set. */
function startApache(
  path: string,
  { front, application }: { front: number; application: number },
  { publicKeyPem }: Tokens,
  folder: string,
): ChildProcess {
  const key = join(folder, 'apache-key.pem')
  writeFileSync(key, publicKeyPem)
  const modules = ['mpm_event', 'authn_core', 'authz_core', 'authz_user', 'auth_openidc', 'proxy']
  const lines = [...modules, 'proxy_http'].map(
    (name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so\n`,
  )
  const file = join(folder, 'apache.conf')
  writeFileSync(
    file,
    `${lines.join('')}
ServerRoot ${folder}
DefaultRuntimeDir ${folder}
PidFile ${folder}/apache.pid
ErrorLog ${folder}/apache.log
ServerName bench.example
User www-data
Group www-data
Listen 127.0.0.1:${front}
# More threads than connections: it closes kept connections when each thread has work.
StartServers 2
ServerLimit 2
ThreadsPerChild 64
MaxRequestWorkers 128
MinSpareThreads 1
MaxSpareThreads 128
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
OIDCOAuthVerifyCertFiles bench#${key}
OIDCCryptoPassphrase bench-only
<Location />
    AuthType oauth20
    Require claim aud:${benchAudience}
    ProxyPass http://127.0.0.1:${application}/ keepalive=On
</Location>
`,
  )
  return startProgram([path, '-D', 'FOREGROUND', '-f', file])
}

function readVersions({ authRequest, oauth2Proxy, apache }: PeerPaths): Record<string, string> {
  const ask = (command: string, args: string[]) =>
    spawnSync(command, args, { encoding: 'utf8' }).stdout?.split('\n')[0] ?? ''
  const versions: Record<string, string> = {}
  if (authRequest !== undefined) {
    versions['haproxy-auth-request'] =
      ask('git', ['-C', authRequest, 'log', '-1', '--format=%h %cs']) || 'unknown'
  }
  if (oauth2Proxy !== undefined) {
    // Built with `go install` it does not know its version; the Go linker wrote it into the file.
    const text = readFileSync(oauth2Proxy, 'latin1')
    versions['oauth2-proxy'] =
      /(?:mod|dep)\tgithub\.com\/oauth2-proxy\/oauth2-proxy\/v7\t(v[\w.-]+)/.exec(text)?.[1] ??
      ask(oauth2Proxy, ['--version'])
  }
  if (apache !== undefined) {
    versions.Apache = ask(apache, ['-v'])
    const module = ask('dpkg-query', ['-W', 'libapache2-mod-auth-openidc'])
    versions.mod_auth_openidc = module.split('\t')[1] ?? 'unknown'
  }
  return versions
}
