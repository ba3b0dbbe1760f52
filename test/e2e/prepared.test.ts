/** What action and verifier say to each other beyond the plain headers, and what older ones hear. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { shippedConfig, shippedLua, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { eventually } from '../support/eventually.ts'
import { startService } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'
import { type CacheStack, isHit, startCacheStack } from './cache-stack.ts'
import { ask, bearer, values } from './client.ts'
import { alice, allow, allowPrepared, deny, revocations, sealed } from './fake-verifier.ts'
import { complaintOfStart, replacing, startStack } from './stack.ts'

const action010 = resolve(import.meta.dirname, 'fixtures/entra-auth-0.1.0.lua')

describe('an allow as one prepared value', () => {
  let stack: CacheStack
  before(async () => {
    stack = await startCacheStack()
    await stack.untilRemembered()
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  it('does what the same allow in headers does, asked for and out of the cache', async () => {
    const identity = {
      ...alice,
      'X-Auth-Request-Name': 'Alice Example',
      'X-Auth-Request-Email': '',
    }
    const seen: unknown[] = []
    for (const said of [allow(identity), allowPrepared(identity)]) {
      const path = `/prepared-${seen.length}`
      stack.verifier.script = () => said
      const replies = [await stack.askFor(path, { path }), await stack.askFor(path, { path })]
      assert.deepEqual(replies.map(isHit), [false, true])
      const identities = stack.app.requests.map(({ headers }) =>
        headers.filter(([name]) => /^x-auth-request/i.test(name)).toSorted(),
      )
      assert.equal(identities[0]?.length, 4)
      const line = await stack.haproxy.waitForLog(
        (one) => one.includes(`path=${path} `) && one.includes('cache=hit'),
      )
      seen.push([identities, line.replace(/^.* ok=/, 'ok=')])
      stack.reset()
    }
    assert.deepEqual(seen[1], seen[0])
  })

  // Roles are last here, because theirs is the largest header.
  const identity = { ...alice, 'X-Auth-Request-Roles': 'r'.repeat(40) }
  const brokenFields: Record<string, (fields: string[]) => string[]> = {
    'with a field less': (fields) => fields.toSpliced(-2, 1),
    'with a field more': (fields) => fields.toSpliced(-1, 0, 'x'),
    'with no more than a list': (fields) => fields.slice(0, 1),
    'that manages Authorization': (fields) => fields.with(0, 'Authorization,B,C,D'),
    'that manages a name twice': (fields) => fields.with(0, 'A,B,C,a'),
    'with a letter that stands for no name': (fields) => fields.with(1, 'ABCE'),
    'with a letter twice': (fields) => fields.with(1, 'ABBD'),
    'with a letter less': (fields) => fields.with(1, 'ABC'),
    'whose largest header is not the last': (fields) => fields.with(-2, 'x'.repeat(100)),
  }
  const brokenValues: Record<string, (value: string) => string> = {
    'of the form before': () => `1\tversion-1${'\tx'.repeat(7)}\tX-A\ta\t.`,
    'of a form to come': (value) => `3${value.slice(1)}`,
    'that is empty': () => '',
    'that is only a form': () => '2',
    'that is cut off': (value) => value.slice(0, -20),
    'without its end': (value) => value.slice(0, -1),
    'with more behind its end': (value) => `${value}x`,
    'with a letter changed': (value) => value.replace('alice-oid', 'alicf-oid'),
    'with two letters exchanged': (value) => value.replace('alice-oid', 'alcie-oid'),
    'with a control character': (value) => value.replace('alice-oid', 'alice\u0001oid'),
    'with a character beyond ASCII': (value) => value.replace('alice-oid', 'alice\u00e9oid'),
    'without the size of its format': () => sealed(`xxxx${'c1'.repeat(10)}${'x'.repeat(10)}`),
  }
  const broken = [
    ...Object.entries(brokenFields).map(([what, edit]) => ({ what, edit, change: undefined })),
    ...Object.entries(brokenValues).map(([what, change]) => ({ what, edit: undefined, change })),
  ]
  for (const { what, edit, change } of broken) {
    it(`is refused ${what}`, async () => {
      stack.verifier.script = () => allowPrepared(identity, edit, change)
      const reply = await stack.askFor(`broken-${what.replaceAll(' ', '-')}`)
      assert.equal(reply.status, 503)
      assert.equal(stack.app.requests.length, 0)
    })
  }

  for (const [what, format] of [
    ['is longer than the value', 'c99999999'],
    ['is none', 'c1q!'],
    ['reads numbers', 'i4i4i4i4i4i4i4i4i4i4'],
    ['reads texts with their sizes', 's1s1s1s1'],
  ] as const) {
    it(`is refused if its format ${what}`, async () => {
      const checked = `${String(format.length).padStart(4, '0')}${format}${'x'.repeat(200)}`
      stack.verifier.script = () => allowPrepared(identity, undefined, () => sealed(checked))
      const reply = await stack.askFor(`format-${what.replaceAll(' ', '-')}`)
      assert.ok(reply.status >= 500, `status ${reply.status}`)
      assert.equal(stack.app.requests.length, 0)
      assert.ok(stack.haproxy.isRunning())
    })
  }

  it('is refused beside headers that say the same', async () => {
    const prepared = /^X-Entra-Auth-Prepared: .*$/m.exec(allowPrepared())?.[0] ?? ''
    stack.verifier.script = () => allow().replace('\r\n\r\n', `\r\n${prepared}\r\n\r\n`)
    assert.equal((await stack.askFor('both')).status, 503)
  })
})

describe('action and verifier of different versions', () => {
  for (const [what, lua] of [
    ['this action', shippedLua],
    ['the action of 0.1.0', action010],
  ] as const) {
    it(`let the same identity through: this verifier and ${what}`, async (t) => {
      const service = await startService()
      t.after(() => service.close())
      const app = await startEchoApp()
      t.after(() => app.stop())
      const folder = mkdtempSync(join(tmpdir(), 'entra-auth-versions-'))
      t.after(() => rmSync(folder, { recursive: true }))
      const config = join(folder, 'haproxy.cfg')
      const text = readFileSync(shippedConfig, 'utf8')
      writeFileSync(
        config,
        text.replaceAll(/lua\.entra-auth(?:-hit\(| )orders/g, (call) =>
          call.replace('orders', 'default'),
        ),
      )
      const haproxy = await startHaproxy({
        verifier: `127.0.0.1:${service.port}`,
        application: app.address,
        configs: [config],
        lua,
        env: lua === action010 ? { ENTRA_AUTH_FAST_LANE: 'off' } : {},
      })
      t.after(() => haproxy.stop())
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      t.after(() => agent.destroy())
      const headers = [['Authorization', `Bearer ${v2User({ name: 'Alice' })}`]] as const
      const path = '/versions'
      await eventually(
        async () => {
          assert.equal((await ask(haproxy.port, { headers, agent, path })).status, 200)
          return haproxy.logLines.some((line) => line.includes('cache=hit'))
        },
        (isRemembered) => isRemembered,
      )
      for (const seen of app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-name'), ['Alice'])
      }
      const refused = await ask(haproxy.port, { headers: [] })
      assert.equal(refused.status, 401)
      assert.deepEqual(values(refused, 'www-authenticate'), ['Bearer realm="entra-id"'])
    })
  }
})

describe('a request without a token', () => {
  const challenge = 'Bearer realm="entra-id", resource_metadata="https://x/\\"y\\""'

  async function start(t: { after(cleanUp: () => unknown): void }) {
    const feed = revocations([], 'version-1', { orders: challenge, other: 'Bearer realm="x"' })
    const stack = await startCacheStack({ feed })
    t.after(() => stack.stop())
    await stack.untilRemembered()
    stack.reset()
    stack.verifier.script = () => deny(401, 'no_credentials', ['Bearer realm="asked"'])
    return stack
  }

  it('is refused without a call, in the words of the verifier', async (t) => {
    const stack = await start(t)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.after(() => agent.destroy())
    for (const headers of [
      [],
      [['Authorization', 'Basic YTpi']],
      [['Authorization', 'Negotiate']],
    ] as const) {
      const reply = await eventually(
        () => stack.ask({ headers, agent }),
        (one) => values(one, 'www-authenticate')[0] === challenge,
      )
      assert.equal(reply.status, 401)
      assert.deepEqual(values(reply, 'www-authenticate'), [challenge])
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['no_credentials'])
      assert.equal(JSON.parse(reply.body).error, 'no_credentials')
      stack.verifier.calls.length = 0
      for (let index = 0; index < 5; index++) await stack.ask({ headers, agent })
      assert.equal(stack.verifier.calls.length, 0)
    }
  })

  it('asks the verifier once the feed is too old, and where it told no challenge', async (t) => {
    const stack = await start(t)
    stack.verifier.feed = revocations([], 'version-1', {})
    await eventually(
      () => stack.ask({ headers: [] }),
      (reply) => values(reply, 'www-authenticate')[0] === 'Bearer realm="asked"',
    )
    const calls = stack.verifier.calls.length
    await stack.ask({ headers: [] })
    assert.equal(stack.verifier.calls.length, calls + 1)
  })

  it('is not answered from a feed that is odd', async (t) => {
    for (const odd of ['{"orders":1}', '[]', '{"orders":"a\\u0001b"}', '{"orders":"x"}}', 'null']) {
      const body = `{"version":"version-1","revocations":[],"challenges":${odd}}`
      const stack = await startCacheStack({
        feed: () =>
          `HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      })
      t.after(() => stack.stop())
      await stack.haproxy.waitForLog((line) => line.includes('revocations cannot be read'))
      for (let index = 0; index < 3; index++) assert.equal(isHit(await stack.askFor()), false)
    }
  })
})

describe('calls under way', () => {
  it('are bounded for each source, and hits are not', async (t) => {
    const stack = await startCacheStack({
      env: { ENTRA_AUTH_MAX_CALLS_PER_SOURCE: '3', ENTRA_AUTH_MAX_CALLS: '5' },
      editConfig: replacing('zero-warning', 'zero-warning\n    nbthread 1'),
    })
    t.after(() => stack.stop())
    await stack.untilRemembered()
    stack.verifier.calls.length = 0
    // Longer than the burst, shorter than what counts as gone.
    stack.verifier.script = () => new Promise((done) => setTimeout(() => done(allow()), 400))
    const from = (last: number) => {
      const agent = new Agent({ localAddress: `127.0.0.${last}` })
      t.after(() => agent.destroy())
      return (index: number) =>
        stack.ask({ agent, headers: [['Authorization', `Bearer of-${last}-${index}`]] })
    }
    const [one, other] = [from(2), from(3)]
    const asked = [0, 1, 2, 3, 4, 5].map(one)
    await eventually(
      () => stack.verifier.calls.length,
      (calls) => calls >= 3,
    )
    const more = [0, 1, 2].map(other)
    assert.ok(isHit(await stack.askFor()))
    const replies = await Promise.all([...asked, ...more])
    const statuses = replies.map(({ status }) => status)
    assert.deepEqual(statuses.slice(0, 6).toSorted(), [200, 200, 200, 503, 503, 503])
    assert.deepEqual(statuses.slice(6).toSorted(), [200, 200, 503])
    for (const reply of replies.filter(({ status }) => status === 503)) {
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['too_many_calls'])
      assert.deepEqual(values(reply, 'retry-after'), ['5'])
    }
    // All have ended, so there is room again.
    assert.equal((await one(9)).status, 200)
  })
})

describe('a verifier address that leads back to HAProxy', () => {
  it('is told from the call, and makes no loop', async (t) => {
    const stack = await startStack({
      editConfig: (text) =>
        text.replace(
          /server v1 "\$\{ENTRA_AUTH_VERIFIER_SERVER.*$/m,
          'server v1 "${ENTRA_AUTH_BIND}"',
        ),
    })
    t.after(() => stack.stop())
    const reply = await stack.ask({ headers: [bearer] })
    assert.ok(reply.status >= 500, `status ${reply.status}`)
    assert.equal(stack.app.requests.length, 0)
    // The health check is such a request too: once it has failed, there is no server to call.
    assert.match(values(reply, 'x-entra-auth-reason').join(), /^(bad_setup|verifier_unavailable)$/)
    await stack.haproxy.waitForLog((line) => line.includes('leads back to HAProxy itself'))
  })

  it('is not what a client can pretend, or anybody could raise the alarm', async (t) => {
    const stack = await startStack()
    t.after(() => stack.stop())
    const headers = [bearer, ['User-Agent', 'haproxy-entra-auth/action']] as const
    const reply = await stack.ask({ headers })
    assert.equal(reply.status, 400)
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['verification_loop'])
    assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
    // More than once: HAProxy drops a line while another thread writes one.
    await eventually(
      async () => {
        await stack.ask({ headers })
        return stack.haproxy.logLines.some((line) => line.includes('reason=verification_loop'))
      },
      (isLogged) => isLogged,
    )
    assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
    assert.ok(!stack.haproxy.logLines.some((line) => line.includes('leads back')))
    const rules = readFileSync(resolve(import.meta.dirname, '../../monitoring/alerts.yaml'), 'utf8')
    assert.ok(rules.includes('|bad_setup|') && !rules.includes('verification_loop'))
  })
})

describe('the caller key in a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'entra-auth-key-'))
  after(() => rmSync(folder, { recursive: true }))

  it('is sent like that of the variable', async (t) => {
    const file = join(folder, 'key')
    writeFileSync(file, 'caller-key-out-of-a-file\n')
    const stack = await startStack({ env: { ENTRA_AUTH_CALLER_KEY_FILE: file } })
    t.after(() => stack.stop())
    await stack.ask()
    const [call] = stack.verifier.calls
    assert.ok(call)
    assert.deepEqual(values(call, 'x-entra-auth-key'), ['caller-key-out-of-a-file'])
  })

  it('stops the start where it cannot be read, is empty, or is not the only one', async () => {
    const empty = join(folder, 'empty')
    writeFileSync(empty, '\n')
    for (const [env, complaint] of [
      [{ ENTRA_AUTH_CALLER_KEY_FILE: join(folder, 'none') }, /CALLER_KEY_FILE must name a file/],
      [{ ENTRA_AUTH_CALLER_KEY_FILE: empty }, /CALLER_KEY_FILE must name a file/],
      [
        {
          ENTRA_AUTH_CALLER_KEY_FILE: shippedLua,
          ENTRA_AUTH_CALLER_KEY: 'one-caller-key-or-other',
        },
        /CALLER_KEY_FILE must be printable|caller key is given twice/,
      ],
    ] as const) {
      assert.match(await complaintOfStart({ env }), complaint)
    }
  })
})
