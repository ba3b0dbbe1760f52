import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, describe, it } from 'node:test'
import { parse } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import { shippedLua } from '../../scripts/local-stack/haproxy.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { checkWithHaproxy } from '../haproxy-config/haproxy-check.ts'
import { startService } from '../support/service.ts'
import { helms, only, parseManifests, renderShape, runHelm, shapes, template } from './render.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const minimal = 'tenantId: 11111111-1111-4111-8111-111111111111\naudience: [api://orders]\n'
const helm = helms.at(-1) ?? assert.fail('no Helm')
const { cert: certificateAuthority } = await createTlsIdentity(Date.now, randomBytes)

for (const each of helms) {
  describe(`what HAProxy gets from the chart with Helm ${each.version}`, () => {
    for (const [name, file] of [
      ['lua', 'entra-auth.lua'],
      ['haproxy', 'haproxy.cfg'],
    ] as const) {
      it(`has the bytes of haproxy-lua/${file}`, () => {
        const manifests = parseManifests(template(each, minimal).stdout)
        const configMap = only(manifests, 'ConfigMap', `edge-haproxy-entra-auth-${name}`)
        const text = configMap.data?.[file] ?? ''
        assert.deepEqual(Buffer.from(text), readFileSync(join(ROOT, 'haproxy-lua', file)))
      })
    }
  })
}

describe('what HAProxy gets from the chart', () => {
  it('finds each pod by the lines of the README, where the Service is headless', async () => {
    const readme = readFileSync(join(chartFolder, 'README.md'), 'utf8')
    const [, lines = ''] = /```haproxy\n(.*?)```/s.exec(readme) ?? []
    assert.match(lines, /server-template .+ verifier-haproxy-entra-auth-headless\.entra\.svc/)
    const whole = lines.replace('    ...', '    bind 127.0.0.1:14480\n    mode http')
    const { problem } = await checkWithHaproxy(`${haproxyDefaults}${whole}`, certificateAuthority)
    assert.equal(problem, '')
  })

  it('can be left out, and can be in the namespace of HAProxy', () => {
    const kinds = (values: string) =>
      parseManifests(template(helm, minimal + values).stdout).filter(
        ({ kind, metadata }) => kind === 'ConfigMap' && /-(lua|haproxy)$/.test(metadata.name),
      )
    assert.equal(kinds('haproxy: { configMaps: false }').length, 0)
    const moved = kinds('haproxy: { namespace: ingress }')
    assert.deepEqual(
      moved.map(({ metadata }) => metadata.namespace),
      ['ingress', 'ingress'],
    )
  })
})

/** The time of the authority's answers is no matter here, and these tests run beside others. */
const limits = { connectTimeoutMs: 30_000, deadlineMs: 30_000 }

describe('helm test', () => {
  it('passes where the service is ready and refuses, with and without a caller key', async (t) => {
    for (const config of [{}, { callerKeyFile: '/run/secrets/caller-key' }]) {
      const service = await startService({ config, limits })
      t.after(() => service.close())
      const { code, output } = await runServiceTest(`http://127.0.0.1:${service.port}`)
      assert.equal(code, 0, output)
      const reason =
        'callerKeyFile' in config ? '403 deny caller_not_allowed' : '401 deny no_credentials'
      assert.equal(output, `GET /readyz: 200\nGET /verify/default: ${reason}\n`)
    }
  })

  it('fails where the service has no keys yet', async (t) => {
    const service = await startService({ unstarted: true })
    t.after(() => service.close())
    const { code, output } = await runServiceTest(`http://127.0.0.1:${service.port}`)
    assert.equal(code, 1)
    assert.match(output, /^GET \/readyz: 503\n/)
  })

  it('fails where nobody answers', async () => {
    const { code } = await runServiceTest('http://127.0.0.1:1')
    assert.equal(code, 1)
  })

  it('asks the Service, by the scheme and port that it has', () => {
    const url = (shape: string) => {
      const manifests = renderShape(helm, findShape(shape))
      const { env } = only(manifests, 'Pod').spec.containers[0]
      return env.find(({ name }: { name: string }) => name === 'VERIFIER_URL').value
    }
    assert.equal(url('minimal'), 'http://edge-haproxy-entra-auth.entra.svc:8080')
    assert.equal(url('tls'), 'https://edge-haproxy-entra-auth.entra.svc:8443')
  })
})

describe('the notes after the installation', () => {
  const folder = mkdtempSync(join(tmpdir(), 'chart-notes-'))
  after(() => rmSync(folder, { recursive: true }))
  cpSync(chartFolder, folder, { recursive: true })
  // `helm template` leaves the notes out, and `helm install` wants a cluster.
  writeFileSync(
    join(folder, 'templates', 'notes.yaml'),
    '---\nnotes: {{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}\n',
  )

  function printNotes(shape: string): string {
    const args = ['template', 'edge', folder, '--namespace', 'entra', '--values']
    const { code, stdout, stderr } = runHelm(helm, [
      ...args,
      findShape(shape).file,
      '--show-only',
      'templates/notes.yaml',
    ])
    assert.equal(code, 0, stderr)
    return parse(stdout).notes
  }

  for (const { name } of shapes) {
    it(`have HAProxy lines that HAProxy accepts, for ${name}`, async () => {
      const notes = printNotes(name)
      const { problem } = await checkWithHaproxy(toHaproxyConfig(notes), certificateAuthority)
      assert.equal(problem, '')
    })
  }

  it('have a curl for a policy that there is', () => {
    assert.match(
      printNotes('minimal'),
      /^ {3}curl -i http:\/\/127\.0\.0\.1:8080\/verify\/default -H "Authorization: Bearer \$TOKEN"$/m,
    )
    assert.match(printNotes('full-config'), /127\.0\.0\.1:8080\/verify\/orders -H/)
  })

  it('have the caller key in the curl, and where HAProxy finds it', () => {
    for (const shape of ['secrets', 'key-vault']) {
      assert.match(printNotes(shape), /verify\/default -H "X-Entra-Auth-Key: \$CALLER_KEY" -H/)
      assert.match(printNotes(shape), /ENTRA_AUTH_CALLER_KEY/)
    }
    assert.doesNotMatch(printNotes('minimal'), /CALLER_KEY/)
  })

  it('warn of plain HTTP, and only then', () => {
    assert.match(printNotes('minimal'), /speaks plain HTTP/)
    assert.doesNotMatch(printNotes('tls'), /speaks plain HTTP/)
    assert.match(printNotes('tls'), /https:\/\/127\.0\.0\.1:8080\/verify/)
  })
})

const haproxyDefaults = `defaults
    timeout client 5s
    timeout connect 1s
    timeout server 5s
    timeout http-request 5s

`

function findShape(name: string) {
  return shapes.find((shape) => shape.name === name) ?? assert.fail(`no shape ${name}`)
}

/** Runs the program of the `helm test` pod as the pod does, with another address. */
async function runServiceTest(url: string): Promise<{ code: number | null; output: string }> {
  const manifests = parseManifests(template(helm, minimal).stdout)
  const { command, args, env } = only(manifests, 'Pod').spec.containers[0]
  const variables = Object.fromEntries(
    (env as { name: string; value: string }[]).map(({ name, value }) => [name, value]),
  )
  const child = spawn(process.execPath, [...command.slice(1), ...args], {
    env: { ...variables, VERIFIER_URL: url },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  return new Promise((done) => child.on('close', (code) => done({ code, output })))
}

/** The lines of the notes as a whole configuration: in sections, with an address for the name. */
function toHaproxyConfig(notes: string): string {
  const [, sections = '', rules = ''] =
    /\n( {3}global\n.*?)\n {3}and in each backend[^\n]*\n\n(( {7}[^\n]+\n?)+)/s.exec(notes) ?? []
  assert.match(sections, /listen entra-verifier/)
  assert.match(rules, /lua\.entra-auth/)
  return `${sections
    .replaceAll(/^ {3}/gm, '')
    .replace('/etc/haproxy/entra-auth.lua', shippedLua)
    .replace('/etc/haproxy/verifier-ca.pem', '"$ENTRA_AUTH_CA_FILE"')
    .replaceAll(/server v1 \S+:/g, 'server v1 127.0.0.1:')}
frontend www
    bind 127.0.0.1:8000
    mode http
    default_backend orders

backend orders
    mode http
${rules.replaceAll(/^ {3}/gm, '')}    server app 127.0.0.1:3000
`
}
