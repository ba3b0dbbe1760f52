import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { isLoopback } from '../../src/loopback.ts'
import { runDevEntra as run } from './command-line.ts'
import { contoso, decode, nowSeconds, startDevEntra } from './support.ts'

async function serve(t: TestContext): Promise<string> {
  return startDevEntra(t).listen({ host: '127.0.0.1', port: 0 })
}

for (const [name, args] of [
  ['serve', ['serve', '--port', '0']],
  ['no sub-command', ['--port', '0']],
] as const) {
  test(`${name} listens on loopback and says where`, async (t) => {
    const { stdout, running } = await run([...args])
    t.after(() => running?.close())
    assert.match(running?.origin ?? '', /^http:\/\/127\.0\.0\.1:\d+$/)
    assert.ok(stdout.includes(`authority ${running?.origin}\n`), stdout)
    const reply = await fetch(`${running?.origin}/${contoso}/discovery/v2.0/keys`)
    assert.equal(reply.status, 200)
  })
}

for (const [what, args, env] of [
  ['neither', [], {}],
  ['the option only', ['--allow-remote'], {}],
  ['the environment only', [], { DEV_ENTRA_ALLOW_REMOTE: 'yes' }],
  ['another value', ['--allow-remote'], { DEV_ENTRA_ALLOW_REMOTE: '1' }],
] as const) {
  test(`serve refuses a remote address with ${what}`, async (t) => {
    const outcome = await run(['serve', '--host', '0.0.0.0', '--port', '0', ...args], { env })
    t.after(() => outcome.running?.close())
    assert.equal(outcome.running, undefined)
    assert.equal(outcome.exitCode, 64)
    assert.match(outcome.stderr, /^error: .*0\.0\.0\.0.*--allow-remote.*\n$/)
  })
}

test('serve listens on a remote address when told twice', async (t) => {
  const args = ['serve', '--host', '0.0.0.0', '--port', '0', '--allow-remote']
  const { running } = await run(args, { env: { DEV_ENTRA_ALLOW_REMOTE: 'yes' } })
  t.after(() => running?.close())
  assert.ok(running)
})

test('loopback is told from what looks like it', () => {
  const hosts = ['127.0.0.1', '127.9.9.9', 'localhost', '::1', '[::1]', '::ffff:127.0.0.1']
  assert.deepEqual(
    hosts.filter((host) => !isLoopback(host)),
    [],
  )
  const others = ['0.0.0.0', '::', '', '127.example.com', '127.0.0.1.example.com', '10.0.0.1']
  assert.deepEqual(others.filter(isLoopback), [])
})

test('a busy port is one line on stderr', async (t) => {
  const { port } = new URL(await serve(t))
  const outcome = await run(['serve', '--port', port])
  assert.equal(outcome.exitCode, 69)
  assert.match(outcome.stderr, /^error: cannot listen: .*\n$/)
})

test('token prints the token and nothing else', async (t) => {
  const url = await serve(t)
  const { stdout, stderr } = await run(['token', 'alice', '--url', url])
  assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/)
  assert.equal(stderr, '')
  assert.equal(decode(stdout.trim()).claims.iss, `${url}/${contoso}/v2.0`)
})

test('token hands all its options on', async (t) => {
  const url = await serve(t)
  const { stdout, stderr } = await run(
    [
      ...['token', 'alice', '--audience', 'api://other', '--tenant', 'fabrikam'],
      ...['--scope', 'A', '--scope', 'B', '--role', 'R', '--version', '1.0'],
      ...['--expires-in', '-301', '--claim', 'acrs=["c1"]', '--claim', 'note="a=b"'],
    ],
    { env: { DEV_ENTRA_URL: url } },
  )
  assert.equal(stderr, '')
  const { aud, tid, scp, roles, ver, exp, acrs, note } = decode(stdout.trim()).claims
  assert.deepEqual([aud, scp, roles, ver], ['api://other', 'A B', ['R'], '1.0'])
  assert.equal(tid, '22222222-2222-4222-8222-222222222222')
  assert.deepEqual([exp, acrs, note], [nowSeconds - 301, ['c1'], 'a=b'])
})

test('token --id-token prints an ID token', async (t) => {
  const { stdout } = await run(['token', 'alice', '--id-token', '--url', await serve(t)])
  const { azp, scp } = decode(stdout.trim()).claims
  assert.deepEqual([azp, scp], [undefined, undefined])
})

test('token says how to start dev-entra when it does not run', async () => {
  const outcome = await run(['token', 'alice', '--url', 'http://127.0.0.1:1'])
  assert.equal(outcome.exitCode, 69)
  assert.equal(outcome.stdout, '')
  assert.equal(
    outcome.stderr,
    'error: no dev-entra answers at http://127.0.0.1:1; start it with: haproxy-entra-auth dev-entra serve\n',
  )
})

for (const [what, args, message] of [
  ['an unknown persona', ['nobody'], /refused: There is no persona "nobody"/],
  ['a claim that is no JSON', ['alice', '--claim', 'a=b'], /must be JSON/],
  ['a claim without a value', ['alice', '--claim', 'a'], /name=json/],
  ['an odd lifetime', ['alice', '--expires-in', '1h'], /whole number/],
  ['an odd version', ['alice', '--version', '3.0'], /Allowed choices are 1\.0, 2\.0/],
] as const) {
  test(`token refuses ${what} in one line`, async (t) => {
    const outcome = await run(['token', ...args], { env: { DEV_ENTRA_URL: await serve(t) } })
    assert.equal(outcome.exitCode, 1)
    assert.match(outcome.stderr, message)
    assert.match(outcome.stderr, /^error: [^\n]*\n$/)
    assert.equal(outcome.stdout, '')
  })
}

test('personas are listed without a running dev-entra', async () => {
  const { stdout } = await run(['personas'])
  assert.match(stdout, /^alice {2,}user with scope Orders\.Read/m)
  assert.match(stdout, /^agent-autonomous {2,}agent/m)
})

test('rotate, withdraw, fault and reset reach the running dev-entra', async (t) => {
  const url = await serve(t)
  const keys = async () => {
    const reply = await fetch(`${url}/${contoso}/discovery/v2.0/keys`)
    return reply.ok ? ((await reply.json()) as { keys: unknown[] }).keys.length : reply.status
  }
  assert.equal(await keys(), 2)
  assert.equal(JSON.parse((await run(['rotate', '--url', url])).stdout).published.length, 3)
  assert.equal(await keys(), 3)
  await run(['withdraw', '--url', url])
  assert.equal(await keys(), 1)
  assert.equal((await run(['fault', '500', '--url', url])).stdout, 'keys: 500\n')
  assert.equal(await keys(), 500)
  await run(['reset', '--url', url])
  assert.equal(await keys(), 1)
})

test('fault refuses a kind that the target does not know', async (t) => {
  const args = ['fault', 'wrong-keys', '--target', 'metadata', '--url', await serve(t)]
  const outcome = await run(args)
  assert.equal(outcome.exitCode, 1)
  assert.match(outcome.stderr, /The metadata endpoint has no fault "wrong-keys"/)
})
