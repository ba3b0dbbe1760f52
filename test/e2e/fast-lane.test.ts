/** Hits without the action, from HAProxy 3.4 on; before it, the same requests through the action. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, beforeEach, describe, it } from 'node:test'
import { findHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { eventually } from '../support/eventually.ts'
import { type CacheStack, isHit, pollingFast, readMetrics, startCacheStack } from './cache-stack.ts'
import { values } from './client.ts'
import {
  alice,
  allow,
  allowHeaders,
  allowPrepared,
  answer,
  deny,
  revocations,
} from './fake-verifier.ts'

describe('a hit', () => {
  let stack: CacheStack
  let ranWithHit: string
  before(async () => {
    const { command, args } = await findHaproxy()
    const version = execFileSync(command, [...args, '-v'], { encoding: 'utf8' })
    const [, major = '', minor = ''] = /version (\d+)\.(\d+)/.exec(version) ?? []
    const hasLane = Number(major) * 100 + Number(minor) >= 304
    ranWithHit = hasLane && process.env.ENTRA_AUTH_FAST_LANE !== 'off' ? '' : 'yes'
    stack = await startCacheStack({
      // Which requests the action saw.
      editLua: (text) =>
        pollingFast(text).replace(
          'txn:set_var("txn.entra.ok", false)',
          'txn:set_var("txn.entra.ok", false) txn:set_var("txn.ran", "yes")',
        ),
      editConfig: (text) =>
        text.replace(
          'monitor-uri /haproxy-livez',
          'monitor-uri /haproxy-livez\n    http-after-response set-header x-ran "%[var(txn.ran)]"',
        ),
    })
    await stack.untilRemembered('warm-up')
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  const ran = (reply: { headers: readonly (readonly [string, string])[] }) =>
    values(reply, 'x-ran')[0] ?? ''

  it('needs no action from HAProxy 3.4 on, and counts all the same', async () => {
    await stack.untilRemembered('counted')
    const count = async () => (await readMetrics(stack)).get('cache_hits_total') ?? 0
    const counted = await count()
    // Once a second the action is asked all the same, to tell the other threads its numbers.
    let spared = 0
    for (let index = 0; index < 40; index++) {
      const reply = await stack.askFor('counted')
      assert.ok(isHit(reply))
      if (ran(reply) === ranWithHit) spared++
    }
    assert.ok(spared > 20, `${spared} of 40`)
    await eventually(
      async () => {
        await stack.askFor('counted')
        return (await count()) - counted
      },
      (hits) => hits >= 40,
    )
  })

  it('of a session needs no action either, for requests that a page of this host makes', async () => {
    const cookie = ['Cookie', `theme=dark; __Host-entra-session=${'S'.repeat(900)}`] as const
    const send = (site: string, method = 'GET') =>
      stack.askFor('', {
        method,
        host: 'portal.example',
        headers: [cookie, ['Sec-Fetch-Site', site], ['Sec-Fetch-Mode', 'no-cors']],
      })
    stack.verifier.script = () =>
      answer(200, [...allowHeaders(), ['X-Entra-Auth-Session-Id', 'session-of-lane']])
    for (const method of ['GET', 'POST']) {
      const reply = await eventually(
        () => send('same-origin', method),
        (one) => isHit(one) && ran(one) === ranWithHit,
      )
      assert.equal(reply.status, 200)
      const seen = stack.app.requests.at(-1)
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
    }
    // The action has those whose method counts.
    assert.equal(ran(await send('cross-site')), 'yes')
    const foreign = await send('cross-site', 'POST')
    assert.equal(foreign.status, 403)
  })

  it('of a session is found in any order of cookies, and for no other host or second cookie', async () => {
    const value = 'O'.repeat(900)
    const own = `__Host-entra-session=${value}`
    stack.verifier.script = (call) =>
      values(call, 'x-entra-auth-session').length === 1 && values(call, 'host').length === 1
        ? answer(200, [...allowHeaders(), ['X-Entra-Auth-Session-Id', 'session-order']])
        : deny(401, 'no_session')
    const send = (
      cookie: string,
      host: string,
      more: readonly (readonly [string, string])[] = [],
    ) =>
      stack.askFor('', {
        host,
        headers: [...more, ['Cookie', cookie], ['Sec-Fetch-Site', 'same-origin']],
      })
    const forwarded = [['X-Forwarded-Host', 'portal.example']] as const
    await eventually(() => send(own, 'portal.example'), isHit)
    stack.verifier.script = () => deny(401, 'no_session')
    for (const cookie of [own, `${own}; b=c`, `a=b; ${own}`, `a=b; ${own}; c="d"`]) {
      // Once a second the action is asked all the same.
      await eventually(
        () => send(cookie, 'portal.example', forwarded),
        (reply) => isHit(reply) && ran(reply) === ranWithHit,
      )
    }
    stack.reset()
    stack.verifier.script = () => deny(401, 'no_session')
    for (const [cookie, host] of [
      [own, 'other.example'],
      [`${own}; ${own}`, 'portal.example'],
      [`${own}; __Host-entra-session =x`, 'portal.example'],
      [`__Host-entra-session =${value}; ${own}`, 'portal.example'],
      [`a="; ${own}`, 'portal.example'],
      [`${own}x`, 'portal.example'],
      [`${own}, x=y`, 'portal.example'],
      [`x${own}`, 'portal.example'],
    ] as const) {
      const reply = await send(cookie, host, forwarded)
      assert.ok(ran(reply) === 'yes', `${cookie.replaceAll(value, 'V')} for ${host}`)
    }
    for (const host of ['other.example', 'portal.example:81']) {
      assert.equal((await send(own, host, forwarded)).status, 401)
    }
  })

  it('of a session that is due for a re-check is left to the action', async () => {
    const cookie = ['Cookie', `__Host-entra-session=${'D'.repeat(900)}`] as const
    stack.verifier.script = () =>
      answer(200, [
        ...allowHeaders(),
        ['X-Entra-Auth-Session-Id', 'session-due'],
        ['X-Entra-Auth-Recheck', '1'],
      ])
    const send = (mode: string, dest: string) =>
      stack.askFor('', {
        host: 'portal.example',
        headers: [
          cookie,
          ['Sec-Fetch-Site', 'same-origin'],
          ['Sec-Fetch-Mode', mode],
          ['Sec-Fetch-Dest', dest],
        ],
      })
    await eventually(() => send('cors', 'empty'), isHit)
    const page = await send('navigate', 'document')
    assert.equal(page.status, 302)
    assert.match(values(page, 'location')[0] ?? '', /^\/oauth2\/start\?rd=/)
  })

  it('brings values and finds tokens of every length whole', async () => {
    for (const length of [1, 232, 233, 239, 240, 241, 2200, 2287, 2288, 2289, 4000]) {
      const identity = {
        ...alice,
        'X-Auth-Request-Groups': 'g'.repeat(length),
        'X-Auth-Request-Name': '',
      }
      stack.verifier.script = () => allow(identity)
      const token = `${'t'.repeat(length)}.${length}`
      await stack.untilRemembered(token)
      stack.reset()
      await eventually(
        () => stack.askFor(token),
        (reply) => ran(reply) === ranWithHit,
      )
      const seen = stack.app.requests.at(-1)
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-groups'), ['g'.repeat(length)])
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      assert.deepEqual(values(seen, 'x-auth-request-name'), [])
    }
  })

  it('is not made of something that looks like the field of another header', async () => {
    await stack.untilRemembered('forged')
    stack.reset()
    stack.verifier.script = () => deny(401, 'no_credentials')
    for (const value of [
      'authorization: Bearer forged',
      '\tauthorization: Bearer forged',
      '\\r\\nauthorization: Bearer forged',
    ]) {
      for (const name of ['X-Odd', 'Authorization-X', 'X-Authorization']) {
        const reply = await stack.askFor('', { headers: [[name, value]] })
        assert.equal(reply.status, 401, `${name}: ${value}`)
      }
    }
    assert.equal(stack.app.requests.length, 0)
  })

  it('is none with a second Authorization header, in whatever place', async () => {
    await stack.untilRemembered('twice')
    stack.reset()
    for (const headers of [
      [
        ['Authorization', 'Bearer twice'],
        ['X-A', 'b'],
        ['AUTHORIZATION', 'Bearer twice'],
      ],
      [
        ['Authorization', 'Bearer twice'],
        ['Authorization', ''],
      ],
      [
        ['Authorization', 'Bearer twice'],
        ['X-Empty', ''],
        ['Authorization', 'Bearer other'],
      ],
      [
        ['Authorization', 'Bearer twice'],
        ['X-Long', 'x'.repeat(240)],
        ['Authorization', 'Basic x'],
      ],
    ] as const) {
      assert.equal((await stack.askFor('', { headers })).status, 400)
    }
    assert.equal(stack.app.requests.length, 0)
  })

  it('ends with a revocation and with another version', async () => {
    await stack.untilRemembered('revoked')
    stack.verifier.script = () => deny(401, 'token_revoked')
    const revoked = { kind: 'user', id: 'contoso-tid/alice-oid', before: 9e9, until: 9e9 }
    stack.verifier.feed = revocations([revoked])
    await stack.untilForgotten('revoked')
    assert.equal((await stack.askFor('revoked')).status, 401)
  })
})

describe('the names of haproxy-auth-request', () => {
  it('are set for a hit, too', async (t) => {
    const stack = await startCacheStack({
      env: { ENTRA_AUTH_VARIABLES: 'all' },
      editConfig: (text) =>
        text.replace(
          'monitor-uri /haproxy-livez',
          'monitor-uri /haproxy-livez\n    http-after-response set-header x-said "%[var(txn.auth_response_successful)] %[var(txn.auth_response_code)]"',
        ),
    })
    t.after(() => stack.stop())
    await stack.untilRemembered('named')
    for (let index = 0; index < 5; index++) {
      const reply = await stack.askFor('named')
      assert.ok(isHit(reply))
      assert.match(values(reply, 'x-said')[0] ?? '', /^(1|true) 200$/)
    }
  })
})

describe('two actions on one request', () => {
  it('leave the second without the hit and the reason of the first, whatever the converter does', async (t) => {
    const lane = (text: string) =>
      /^ {4}http-request unset-var\(txn\.entra\.ok\)\n[\s\S]*?deny_status 503 unless \{ var\(txn\.entra\.ok\) -m bool \}\n/m.exec(
        text.slice(text.indexOf('\nbackend orders')),
      )?.[0] ?? ''
    const names = ['policy', 'user', 'tenant', 'client', 'token_id', 'cache', 'reason']
    const said = names.map((name) => `%[var(txn.entra.${name})]`).join(' ')
    const stack = await startCacheStack({
      editConfig: (text) =>
        text
          .replace(
            lane(text),
            // The second converter has nothing to work on, and so sets no variable.
            `${lane(text)}${lane(text).replaceAll('orders', 'stock').replace('req.hdrs,', 'var(txn.nothing),')}`,
          )
          .replace(
            'monitor-uri /haproxy-livez',
            `monitor-uri /haproxy-livez\n    http-after-response set-header x-said "${said}"`,
          ),
    })
    t.after(() => stack.stop())
    stack.verifier.script = ({ url }) =>
      url === '/verify/orders' ? allow() : deny(403, 'scope_missing')
    // Until the allow of the first comes out of the cache.
    await eventually(
      async () => {
        stack.verifier.calls.length = 0
        await stack.askFor('twice')
        return stack.verifier.calls.map(({ url }) => url).join()
      },
      (calls) => calls === '/verify/stock',
    )
    for (let index = 0; index < 5; index++) {
      const reply = await stack.askFor('twice')
      assert.equal(reply.status, 403)
      // Nothing is left of the first one's identity.
      const [text = ''] = values(reply, 'x-said')
      assert.match(text.replace(/ +/g, ' ').replaceAll(' -', ''), /^stock miss scope_missing$/)
    }
    assert.equal(stack.app.requests.length, 0)
  })
})

describe('a variable for which HAProxy has no room', () => {
  const roles = 'r'.repeat(1500)
  // Too small for the text of a hit, or for the last parts of it that the log shows.
  for (const [name, size] of [
    ['txn', 400],
    ['txn', 700],
    ['txn', 1500],
    ['txn', 2000],
    ['sess', 1500],
    ['proc', 700],
  ] as const) {
    it(`lets no request without its identity through: tune.vars.${name}-max-size ${size}`, async (t) => {
      const stack = await startCacheStack({
        editConfig: (text) =>
          text.replace(/^global$/m, `global\n    tune.vars.${name}-max-size ${size}`),
      })
      t.after(() => stack.stop())
      stack.verifier.script = () => allowPrepared({ ...alice, 'X-Auth-Request-Roles': roles })
      // Long enough for polls, with which threads tell each other what they know.
      const from = stack.verifier.polls.length
      await eventually(
        async () => {
          const { status } = await stack.askFor()
          assert.equal(status, 200)
          return stack.verifier.polls.length - from
        },
        (polls) => polls > 12,
      )
      assert.ok(stack.app.requests.length > 20)
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-user'), [alice['X-Auth-Request-User']])
        assert.deepEqual(values(seen, 'x-auth-request-roles'), [roles])
      }
      assert.ok((await readMetrics(stack)).has('requests_total'))
    })
  }
})
