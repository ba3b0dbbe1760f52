/** Verdicts that all threads of a HAProxy share, from 3.2 on; before it, each thread asks for itself. */
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

const threads = 2
/** All clients of a test have one address. */
const manyRefusals = { ENTRA_AUTH_BAD_TOKENS_PER_10S: '100000' }
const manyThreads = (text: string) =>
  text.replace(/^ +nbthread .*\n/m, '').replace(/^global$/m, `global\n    nbthread ${threads}`)

async function sharesVerdicts(): Promise<boolean> {
  const { command, args } = await findHaproxy()
  const version = execFileSync(command, [...args, '-v'], { encoding: 'utf8' })
  const [, major = '', minor = ''] = /version (\d+)\.(\d+)/.exec(version) ?? []
  return Number(major) * 100 + Number(minor) >= 302
}

/** Requests with this token, each over a connection of its own, so that all threads have some. */
async function askOnNewConnections(stack: CacheStack, token: string, count = 60) {
  const replies = []
  for (let index = 0; index < count; index++) {
    replies.push(await stack.ask({ headers: [['Authorization', `Bearer ${token}`]] }))
  }
  return replies
}

/** Each status once. */
const statuses = (replies: readonly { readonly status: number }[]) =>
  [...new Set(replies.map(({ status }) => status))].join()

/** Until each thread has had word from the verifier and would keep what it hears. */
async function warmUp(stack: CacheStack) {
  await eventually(
    async () => (await askOnNewConnections(stack, 'warm-up', 20)).filter(isHit).length,
    (hits) => hits === 20,
  )
  stack.reset()
}

describe('a verdict that one thread asked for', () => {
  let stack: CacheStack
  let isShared: boolean
  before(async () => {
    isShared = await sharesVerdicts()
    stack = await startCacheStack({ editConfig: manyThreads, env: manyRefusals })
    await warmUp(stack)
  })
  after(() => stack.stop())
  beforeEach(() => {
    stack.reset()
    stack.verifier.script = () => allowPrepared()
    stack.verifier.feed = revocations()
  })

  it('needs no call in the others, with the same identity', async () => {
    stack.verifier.script = () => allowPrepared({ ...alice, 'X-Auth-Request-Groups': 'g,h' })
    const replies = await askOnNewConnections(stack, 'spread')
    assert.ok(replies.every(({ status }) => status === 200))
    const calls = stack.verifier.calls.length
    assert.ok(calls >= 1 && calls <= (isShared ? 1 : threads), `${calls} calls`)
    for (const seen of stack.app.requests) {
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      assert.deepEqual(values(seen, 'x-auth-request-groups'), ['g,h'])
    }
  })

  it('says nothing about a token that differs in one character, wherever', async () => {
    const token = `${'t'.repeat(60)}.${'u'.repeat(600)}.${'v'.repeat(60)}`
    await askOnNewConnections(stack, token)
    stack.reset()
    stack.verifier.script = () => deny(401, 'bad_signature')
    for (const place of [0, 30, 100, 400, 662, token.length - 1]) {
      const other = `${token.slice(0, place)}w${token.slice(place + 1)}`
      for (const reply of await askOnNewConnections(stack, other, 8)) {
        assert.equal(reply.status, 401)
      }
    }
    assert.equal(stack.app.requests.length, 0)
  })

  it('ends in all of them with a revocation', async () => {
    await askOnNewConnections(stack, 'revoked')
    stack.verifier.script = () => deny(401, 'token_revoked')
    const revoked = { kind: 'user', id: 'contoso-tid/alice-oid', before: 9e9, until: 9e9 }
    stack.verifier.feed = revocations([revoked])
    // All of them in a row: a thread may hear of it a poll later.
    await eventually(
      async () => statuses(await askOnNewConnections(stack, 'revoked')),
      (seen) => seen === '401',
    )
    assert.equal((await stack.askFor('revoked')).status, 401)
  })
})

describe('a verdict that one thread asked for, and which has expired', () => {
  it('is asked for anew by each that needs it', async () => {
    const stack = await startCacheStack({ editConfig: manyThreads, env: manyRefusals })
    try {
      await warmUp(stack)
      stack.verifier.script = () =>
        allowPrepared().replace('private, max-age=30', 'private, max-age=1')
      await askOnNewConnections(stack, 'short')
      stack.verifier.script = () => deny(401, 'token_expired')
      await eventually(
        async () => statuses(await askOnNewConnections(stack, 'short')),
        (seen) => seen === '401',
      )
      assert.equal((await stack.askFor('short')).status, 401)
    } finally {
      await stack.stop()
    }
  })
})

describe('verdicts that one thread alone has asked for', () => {
  const start = (env: Readonly<Record<string, string>> = {}) =>
    startCacheStack({
      editConfig: (text) =>
        text.replace(/^ +nbthread .*\n/m, '').replace(/^global$/m, 'global\n    nbthread 1'),
      env: { ENTRA_AUTH_CACHE_ENTRIES: '1', ...env },
    })
  /** One request with each token in turn, and the calls that they took. */
  const callsOf = async (stack: CacheStack, tokens: readonly string[]) => {
    await warmUp(stack)
    stack.verifier.script = () => allowPrepared()
    for (const token of tokens) assert.equal((await stack.askFor(token)).status, 200)
    return stack.verifier.calls.length
  }

  it('are found again after its own cache has evicted them', async () => {
    const stack = await start()
    try {
      const tokens = ['first', 'second', 'first', 'second', 'first']
      // The first one that is evicted was not shared yet.
      assert.equal(await callsOf(stack, tokens), (await sharesVerdicts()) ? 2 : tokens.length)
    } finally {
      await stack.stop()
    }
  })

  it('do not evict others from its own full cache before their second use', async () => {
    const stack = await start()
    const evictions = async () => {
      const text = await (await fetch(stack.haproxy.metricsUrl)).text()
      return Number(/^entra_auth_action_cache_evictions_total (\d+)$/m.exec(text)?.[1])
    }
    try {
      const once = ['a', 'b', 'c', 'd', 'e', 'f']
      assert.equal(await callsOf(stack, once), once.length)
      const isShared = await sharesVerdicts()
      // The first of them evicts that of the warm-up, and no other is shared before an eviction.
      assert.equal(await evictions(), isShared ? 1 : once.length)
      if (!isShared) return
      assert.ok(isHit(await stack.askFor('b')))
      assert.equal(await evictions(), 2)
    } finally {
      await stack.stop()
    }
  })

  it('are found with every spelling of the scheme, and take the room of one', async () => {
    const stack = await start({ ENTRA_AUTH_SHARED_BYTES: '2000' })
    const ask = (scheme: string, token: string) =>
      stack.ask({ headers: [['Authorization', `${scheme} ${token}`]] })
    try {
      await callsOf(stack, ['first', 'other', 'spelled'])
      if (!(await sharesVerdicts())) return
      for (const scheme of ['bearer', 'BEARER', 'Bearer', 'Bearer ']) {
        assert.ok(isHit(await ask(scheme, 'spelled')), scheme)
      }
      assert.ok(isHit(await ask('Bearer', 'other')))
    } finally {
      await stack.stop()
    }
  })

  it('make room for newer ones, the oldest first', async () => {
    // Some hundred bytes each: three have room, and not four.
    const stack = await start({ ENTRA_AUTH_SHARED_BYTES: '1700' })
    try {
      const once = ['a', 'b', 'c', 'd', 'e']
      const tokens = [...once, 'c', 'd', 'e']
      const calls = (await sharesVerdicts()) ? once.length : tokens.length
      assert.equal(await callsOf(stack, tokens), calls)
      assert.equal(isHit(await stack.askFor('b')), false)
    } finally {
      await stack.stop()
    }
  })

  it('take no more room than there is, however many there are', async () => {
    const room = 60_000
    const stack = await start({ ENTRA_AUTH_SHARED_BYTES: String(room) })
    try {
      // More than a piece of the list of what was shared holds.
      const tokens = Array.from({ length: 300 }, (_, index) => `token-${index}`)
      assert.equal(await callsOf(stack, tokens), tokens.length)
      let found = 0
      // From the newest on, because each miss is shared in place of an older one.
      while (isHit(await stack.askFor(tokens.at(-1 - found) ?? ''))) found++
      if (!(await sharesVerdicts())) return
      const size = Buffer.byteLength(allowPrepared())
      assert.ok(found > room / (size + 300) && found < room / 400, `${found} verdicts of ${size}`)
    } finally {
      await stack.stop()
    }
  })
})

describe('shared verdicts where HAProxy has little room for variables', () => {
  it('are as many as before again, some time after the shortage', async () => {
    const stack = await startCacheStack({
      editConfig: (text) =>
        text.replace(/^ +nbthread .*\n/m, '').replace(/^global$/m, 'global\n    nbthread 1'),
      editLua: (text) =>
        pollingFast(text)
          .replace('TRIED_AGAIN_MS = 600000', 'TRIED_AGAIN_MS = 300')
          .replace(
            'isSet = txn:set_var(',
            'isSet = not value:find("scarce", 1, true) and txn:set_var(',
          ),
      env: { ...manyRefusals, ENTRA_AUTH_CACHE_ENTRIES: '1' },
    })
    try {
      await warmUp(stack)
      stack.verifier.script = (call) =>
        allowPrepared({ ...alice, 'X-Auth-Request-User': values(call, 'authorization').join() })
      const hitsOf = async (tokens: readonly string[]) => {
        for (const token of tokens) await stack.askFor(token)
        let hits = 0
        for (const token of tokens.toReversed()) if (isHit(await stack.askFor(token))) hits++
        return hits
      }
      const six = (name: string) => Array.from({ length: 6 }, (_, index) => `${name}-${index}`)
      if (!(await sharesVerdicts())) return
      await hitsOf(six('before'))
      for (const token of six('scarce')) await stack.askFor(token)
      assert.ok((await hitsOf(six('after'))) < 6)
      let round = 0
      await eventually(
        () => hitsOf(six(`later-${round++}`)),
        (hits) => hits === 6,
      )
    } finally {
      await stack.stop()
    }
  })

  it('leave room for those of requests, and are shared as far as there is room', async () => {
    const stack = await startCacheStack({
      editConfig: (text) =>
        manyThreads(text).replace(/^global$/m, 'global\n    tune.vars.proc-max-size 40000'),
      // Or the own caches would have all of them.
      env: { ...manyRefusals, ENTRA_AUTH_CACHE_ENTRIES: '1' },
    })
    try {
      await warmUp(stack)
      stack.verifier.script = () => allowPrepared()
      const statusOf = async (token: string) => (await stack.askFor(token)).status
      for (let round = 0; round < 2; round++) {
        for (let index = 0; index < 150; index++) {
          assert.equal(await statusOf(`token-${round}-${index}`), 200, `round ${round}, ${index}`)
        }
      }
      if (await sharesVerdicts()) assert.ok(isHit(await stack.askFor('token-1-149')))
      assert.equal(await statusOf('token-0-0'), 200)
    } finally {
      await stack.stop()
    }
  })
})

describe('an error in what shares verdicts', () => {
  const names = [
    ...['namesOf', 'plainForm', 'createPlain', 'createValue', 'makeRoom', 'addWritten', 'digestOf'],
    ...['hashOf', 'hashOfPolicy', 'hashOfList', 'ofVerdict', 'isOf', 'isInTime', 'listOf'],
    ...['readPlain', 'isFound', 'isPermitted', 'isShared', 'inOneStep'],
  ]
  for (const name of names) {
    it(`refuses the requests that meet it, and no other loses its identity: ${name}`, async () => {
      const line = new RegExp(`^( *(?:local )?function ${name}\\(.*\\))$`, 'm')
      const stack = await startCacheStack({
        editConfig: (text) =>
          text.replace(/^ +nbthread .*\n/m, '').replace(/^global$/m, 'global\n    nbthread 1'),
        editLua: (text) => {
          assert.match(text, line)
          return pollingFast(text).replace(line, (head) => `${head} error("injected")`)
        },
        env: { ENTRA_AUTH_FAST_LANE: 'off', ENTRA_AUTH_CACHE_ENTRIES: '1' },
      })
      stack.verifier.script = (call) =>
        allowPrepared({ ...alice, 'X-Auth-Request-User': values(call, 'authorization').join() })
      const meetsIt =
        ['namesOf', 'isPermitted', 'inOneStep'].includes(name) || (await sharesVerdicts())
      let [index, refused] = [0, 0]
      try {
        await eventually(
          async () => {
            const before = stack.app.requests.length
            const token = `token-${index++ % 3}`
            const { status } = await stack.askFor(token)
            assert.ok(status === 200 || status === 500, `status ${status}`)
            const seen = stack.app.requests.slice(before)
            const users = seen.map((one) => values(one, 'x-auth-request-user'))
            assert.deepEqual(users, status === 200 ? [[`Bearer ${token}`]] : [])
            if (status === 500) refused++
          },
          () => (meetsIt ? refused > 2 : index > 20),
        )
      } finally {
        await stack.stop()
      }
    })
  }
})

describe('what changes memory without the way through string.gsub', () => {
  it('only runs where HAProxy does not count, and so cannot interrupt it', async (t) => {
    const guard = 'if debug.gethook() then error("HAProxy counts") end'
    const places = [
      'local function inOneStep(change)\n',
      'if judged and outcome.prepared and canStop then\n',
    ]
    const stack = await startCacheStack({
      editLua: (text) =>
        places.reduce((edited, place) => {
          assert.equal(edited.split(place).length, 2, place)
          return edited.replace(place, `${place.trimEnd()} ${guard}\n`)
        }, pollingFast(text)),
      // So each of several tokens is evicted, shared and found again.
      env: { ENTRA_AUTH_FAST_LANE: 'off', ENTRA_AUTH_CACHE_ENTRIES: '1' },
    })
    t.after(() => stack.stop())
    for (const script of [() => allowPrepared(alice), () => allow()]) {
      stack.verifier.script = script
      await stack.untilRemembered()
      for (let index = 0; index < 40; index++) {
        assert.equal((await stack.askFor(`token-${index % 5}`)).status, 200)
      }
    }
  })
})

describe('the own cache of a thread that shares', () => {
  it('has a quarter of its room for what is shared, and the rest for sessions', async () => {
    const room = 262_144
    const stack = await startCacheStack({
      editConfig: (text) =>
        text.replace(/^ +nbthread .*\n/m, '').replace(/^global$/m, 'global\n    nbthread 1'),
      env: { ENTRA_AUTH_CACHE_BYTES: String(room) },
    })
    try {
      await warmUp(stack)
      stack.verifier.script = () => allowPrepared()
      for (let index = 0; index < 150; index++) await stack.askFor(`token-${index}`)
      const isShared = await sharesVerdicts()
      const bytes = async () => (await readMetrics(stack)).get('cache_bytes') ?? 0
      // Numbers are published about once a second.
      const inUse = await eventually(
        async () => {
          await stack.askFor('token-149')
          return await bytes()
        },
        (now) => now > (isShared ? room / 5 : room / 2),
      )
      if (isShared) assert.ok(inUse <= room / 4 + 4096, `${inUse} bytes`)
      stack.verifier.script = () =>
        answer(200, [...allowHeaders(), ['X-Entra-Auth-Session-Id', 'session-of-many']])
      const send = (value: string) =>
        stack.askFor('', {
          host: 'portal.example',
          headers: [
            ['Cookie', `__Host-entra-session=${value.padStart(900, 'S')}`],
            ['Sec-Fetch-Site', 'same-origin'],
          ],
        })
      for (let index = 0; index < 100; index++) await send(`${index}`)
      await eventually(
        async () => {
          await send('99')
          return await bytes()
        },
        (now) => now > room / 2,
      )
    } finally {
      await stack.stop()
    }
  })
})

describe('shared verdicts switched off', () => {
  it('leave each thread to ask for itself', async () => {
    // With `lua-load`, all threads have one memory in any case.
    const lonely = process.env.HAPROXY_LUA_LOAD === 'lua-load' ? 1 : threads
    const stack = await startCacheStack({
      editConfig: manyThreads,
      env: { ENTRA_AUTH_SHARED_BYTES: '0' },
    })
    try {
      await warmUp(stack)
      stack.verifier.script = () => allowPrepared()
      await eventually(
        async () => {
          await askOnNewConnections(stack, 'alone', 20)
          return stack.verifier.calls.length
        },
        (calls) => calls >= lonely,
      )
    } finally {
      await stack.stop()
    }
  })
})
