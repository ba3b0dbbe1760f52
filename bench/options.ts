/** Options of `npm run bench`. */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'

/** The benchmarks that there are. */
export const partNames = [
  'service',
  'variants',
  'pairs',
  'instructions',
  'mixed',
  'zipf',
  'threads',
  'stalls',
  'peers',
] as const
/** A name of one. */
export type Part = (typeof partNames)[number]

/** What is to be run. */
export interface BenchOptions {
  readonly only: readonly Part[]
  readonly versions: readonly string[]
  readonly rounds: number
  /** Folder of an earlier version of this repository to compare with. */
  readonly before: string | undefined
  readonly peers: {
    readonly authRequest: string | undefined
    readonly oauth2Proxy: string | undefined
    readonly apache: string | undefined
  }
}

const help = `usage: npm run bench -- [options]

  --only PART,…       of: ${partNames.join(', ')} (default: all)
                        service       the verifier alone
                        variants      HAProxy with the action, without, and with jwt_verify
                        pairs         two of them at the same time: a ratio that varies less
                        instructions  the same under callgrind, which no neighbour disturbs
                        mixed         100,000 live tokens through HAProxy, action and verifier
                        zipf          tokens by popularity; an earlier version takes turns with this one
                        threads       one and two threads, a new connection for each request
                        stalls        64 threads while 10,000 revocations change
                        peers         programs that could be used instead, where they are named below
  --versions V,…      HAProxy versions (default: 2.6,3.2,3.4; BENCH_HAPROXY)
  --before DIR                 for zipf: an earlier commit of this repository, with its node_modules
                               (BENCH_BEFORE)
  --rounds N          rounds, of which medians are taken (default: 3; BENCH_ROUNDS)
  --haproxy-auth-request DIR   folder with auth-request.lua and haproxy-lua-http/http.lua
                               (BENCH_HAPROXY_AUTH_REQUEST); compared together with the next
  --oauth2-proxy FILE          the program (BENCH_OAUTH2_PROXY)
  --mod-auth-openidc FILE      an Apache whose mod_auth_openidc is installed, as Debian has it
                               (BENCH_MOD_AUTH_OPENIDC)
  --help              this text

Results go to bench/results/. All load goes to loopback.`

/** Reads the command line, then the environment; prints help or one line about a mistake and exits. */
export function parseOptions(args: readonly string[]): BenchOptions {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        versions: { type: 'string' },
        rounds: { type: 'string' },
        before: { type: 'string' },
        'haproxy-auth-request': { type: 'string' },
        'oauth2-proxy': { type: 'string' },
        'mod-auth-openidc': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    })
    if (values.help) {
      console.log(help)
      process.exit(0)
    }
    const path = (given: string | undefined) => (given ? resolve(given) : undefined)
    const { env } = process
    return {
      only: parseParts(values.only ?? partNames.join(',')),
      versions: (values.versions ?? env.BENCH_HAPROXY ?? '2.6,3.2,3.4').split(','),
      rounds: parseRounds(values.rounds ?? env.BENCH_ROUNDS ?? '3'),
      before: path(values.before ?? env.BENCH_BEFORE),
      peers: {
        authRequest: path(values['haproxy-auth-request'] ?? env.BENCH_HAPROXY_AUTH_REQUEST),
        oauth2Proxy: path(values['oauth2-proxy'] ?? env.BENCH_OAUTH2_PROXY),
        apache: path(values['mod-auth-openidc'] ?? env.BENCH_MOD_AUTH_OPENIDC),
      },
    }
  } catch (error) {
    console.error(`${(error as Error).message}; --help lists the options`)
    return process.exit(64)
  }
}

function parseParts(list: string): Part[] {
  return list.split(',').map((name) => {
    const part = partNames.find((one) => one === name)
    if (part === undefined) throw new Error(`--only: '${name}' is not one of ${partNames}`)
    return part
  })
}

function parseRounds(text: string): number {
  const rounds = Number(text)
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 50) {
    throw new Error(`--rounds: '${text}' is not a whole number from 1 to 50`)
  }
  return rounds
}
