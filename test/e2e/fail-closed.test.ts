import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { after, before, beforeEach, describe, it } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { shippedLua } from '../../scripts/local-stack/haproxy.ts'
import { eventually } from '../support/eventually.ts'
import { isHit, pollingFast, startCacheStack } from './cache-stack.ts'
import { type Reply, values } from './client.ts'
import {
  alice,
  allow,
  allowHeaders,
  allowPrepared,
  answer,
  deny,
  type Headers,
  issuedAt,
  revocations,
  type Script,
  shortAllow,
} from './fake-verifier.ts'
import { complaintOfStart, replacing, type Stack, startStack } from './stack.ts'

type Life = { after(cleanUp: () => unknown): void }

/** The listen section gives up after one second, and asks twice at most. */
const inTimeMs = 4000

describe('an answer that is none', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  const without = (name: string) => allowHeaders().filter(([one]) => one !== name)
  const many = (count: number) =>
    Array.from({ length: count }, (_, index) => [`X-Many-${index}`, 'v'] as const)

  const lists = (names: string, ...more: Headers) =>
    answer(200, [...without('X-Entra-Auth-Headers'), ['X-Entra-Auth-Headers', names], ...more])
  const verdict = (value: string) =>
    answer(200, [...without('X-Entra-Auth-Verdict'), ['X-Entra-Auth-Verdict', value]])
  const withoutLength = (text: string, instead = '') =>
    text.replace(/Content-Length: \d+\r\n/, instead)
  function* endless(head: string, piece: string): Iterable<string> {
    yield head
    for (;;) yield piece
  }

  const scripts: Record<string, Script> = {
    'a verifier that hangs': () => 'hang',
    'a verifier that closes without a word': () => 'close',
    'garbage: random text': () => ({ garbage: 'this is not HTTP\r\n\r\n' }),
    'garbage: an empty line': () => ({ garbage: '\r\n\r\n' }),
    'garbage: zero bytes': () => ({ garbage: Buffer.alloc(64) }),
    'garbage: half a status line': () => ({ garbage: 'HTTP/1.1 20' }),
    'garbage: a status that is no number': () => ({ garbage: 'HTTP/1.1 OK allow\r\n\r\n' }),
    'garbage: a header without a colon': () => ({
      garbage: 'HTTP/1.1 200 OK\r\nX-Entra-Auth-Verdict allow\r\n\r\n',
    }),
    'garbage: a head that never ends': () => ({ garbage: allow().slice(0, -10) }),
    'garbage: another protocol': () => ({ garbage: 'SSH-2.0-OpenSSH_9.2\r\n' }),
    'garbage: a TLS alert': () => ({ garbage: Buffer.from('15030100020228', 'hex') }),
    'status 100 and no more': () => ({ garbage: 'HTTP/1.1 100 Continue\r\n\r\n' }),
    'status 101 with a verdict': () => answer(101, allowHeaders()),
    'status 201 with a verdict': () => answer(201, allowHeaders()),
    'status 204 with a verdict': () => answer(204, allowHeaders()),
    'status 206 with a verdict': () => answer(206, allowHeaders()),
    'status 302 with a verdict': () => answer(302, [...allowHeaders(), ['Location', '/']]),
    'status 304 with a verdict': () => answer(304, allowHeaders()),
    'status 500 with a verdict': () => answer(500, allowHeaders()),
    'status 502': () => answer(502),
    'status 401 with a verdict and no reason': () => answer(401, allowHeaders()),
    'status 429': () => answer(429),
    'a reason that is no reason code': () => answer(401, [['X-Entra-Auth-Reason', 'Bad Reason!']]),
    'status 200 without a verdict': () => answer(200, without('X-Entra-Auth-Verdict')),
    'status 200 with an HTML page': () =>
      answer(200, [['Content-Type', 'text/html']], '<h1>It works</h1>'),
    'the verdict deny with status 200': () => verdict('deny'),
    'a verdict in capitals': () => verdict('ALLOW'),
    'a verdict with one capital': () => verdict('Allow'),
    'an empty verdict': () => verdict(''),
    'a verdict and more behind a comma': () => verdict('allow, allow'),
    'a verdict under a name with underscores': () =>
      answer(200, [...without('X-Entra-Auth-Verdict'), ['X_Entra_Auth_Verdict', 'allow']]),
    'an allow with the reason of a refusal': () =>
      answer(200, [...allowHeaders(), ['X-Entra-Auth-Reason', 'token_expired']]),
    'an allow with a body': () => answer(200, allowHeaders(), '{"error":"invalid_token"}'),
    'an allow with a body of 100 KB': () => answer(200, allowHeaders(), 'x'.repeat(100_000)),
    'an allow that is cut off in its body': () => ({
      garbage: `${withoutLength(allow(), 'Content-Length: 10\r\n')}x`,
    }),
    'an allow that stops in its body': () => withoutLength(allow(), 'Content-Length: 10\r\n'),
    'an allow with two lengths': () =>
      withoutLength(allow(), 'Content-Length: 0\r\nContent-Length: 5\r\n'),
    'an allow with a negative length': () => withoutLength(allow(), 'Content-Length: -1\r\n'),
    'an allow in chunks that are none': () => ({
      garbage: `${withoutLength(allow(), 'Transfer-Encoding: chunked\r\n')}xyz\r\n`,
    }),
    'HTTP/0.9: a body and nothing else': () => ({ garbage: 'X-Entra-Auth-Verdict: allow\r\n' }),
    'HTTP/2 without being asked': () => ({
      garbage: Buffer.from('000000040000000000000000040100000001', 'hex'),
    }),
    'status 100 and then nothing': () => 'HTTP/1.1 100 Continue\r\n\r\n',
    'status 100 for ever': () => ({
      pieces: endless('', 'HTTP/1.1 100 Continue\r\n\r\n'),
      everyMs: 100,
    }),
    'status 103 and then nothing': () => `HTTP/1.1 103 Early Hints\r\n\r\n`,
    'status 199 and then an allow': () => `HTTP/1.1 199 Odd\r\n\r\n${allow()}`,
    'status 1200': () => allow().replace(' 200 ', ' 1200 '),
    'status 20': () => allow().replace(' 200 ', ' 20 '),
    'a redirect to a place that allows': (call) =>
      call.url === '/verify/orders' ? answer(307, [['Location', '/verify/other']]) : allow(),
    'a head that comes byte by byte': () => ({ pieces: allow(), everyMs: 100 }),
    'a body that comes for ever, in chunks': () => ({
      pieces: endless(withoutLength(allow(), 'Transfer-Encoding: chunked\r\n'), '1\r\nx\r\n'),
      everyMs: 100,
    }),
    'a body that comes for ever, as fast as it can': () => ({
      pieces: endless(
        withoutLength(allow(), 'Transfer-Encoding: chunked\r\n'),
        `10000\r\n${'x'.repeat(0x10000)}\r\n`,
      ),
      everyMs: 1,
    }),
    'a refusal that comes for ever': () => ({
      pieces: endless(withoutLength(deny(401, 'token_expired'), 'Content-Length: 9999\r\n'), 'x'),
      everyMs: 100,
    }),
    'two verdicts': () => answer(200, [...allowHeaders(), ['X-Entra-Auth-Verdict', 'allow']]),
    'two values of an identity header': () =>
      answer(200, [...allowHeaders(), ['X-Auth-Request-User', 'bob-oid']]),
    'no list of identity headers': () => answer(200, without('X-Entra-Auth-Headers')),
    'two lists of identity headers': () =>
      answer(200, [...allowHeaders(), ['X-Entra-Auth-Headers', 'X-Auth-Request-User']]),
    'a list with a name twice': () => lists('x-auth-request-user,X-Auth-Request-User'),
    'a list with a name that is none': () => lists('x-auth request'),
    'a list with a pseudo-header': () => lists(':path'),
    ...Object.fromEntries(
      ['Host', 'Connection', 'Content-Length', 'Transfer-Encoding', 'Authorization', 'Cookie']
        .concat(['Expect', 'TE', 'Trailer', 'Upgrade', 'Keep-Alive', 'Proxy-Connection'])
        .map((name): [string, Script] => [
          `a list that names ${name}`,
          () => lists(`X-Auth-Request-User,${name}`),
        ]),
    ),
    'a list that names Host, with a value': () => lists('Host', ['Host', 'x']),
    'a value with a carriage return': () =>
      allow({ ...alice, 'X-Auth-Request-User': 'a\rX-Evil: 1' }),
    'a value with a null byte': () => allow({ ...alice, 'X-Auth-Request-User': 'a\0b' }),
    'a value with a delete character': () => allow({ ...alice, 'X-Auth-Request-User': 'a\x7fb' }),
    'a value with a line feed': () => allow({ ...alice, 'X-Auth-Request-User': 'a\nb' }),
    'a name with a blank before the colon': () => allow().replace('-Verdict:', '-Verdict :'),
    'a tenant for the log that is there twice': () =>
      answer(200, [...allowHeaders(), ['X-Entra-Auth-Tenant', 'contoso-tid']]),
    'a value with a tab': () => allow({ ...alice, 'X-Auth-Request-User': 'a\tb' }),
    'a value with a byte above ASCII': () => allow({ ...alice, 'X-Auth-Request-User': 'Jürgen' }),
    'a user for the log with a byte above ASCII': () =>
      answer(200, [...without('X-Entra-Auth-User'), ['X-Entra-Auth-User', 'Jürgen']]),
    'a report that is no reason code': () =>
      answer(200, [...allowHeaders(), ['X-Entra-Auth-Report', 'Not A Code']]),
    'a header of 40 KB': () => answer(200, [...allowHeaders(), ['X-Big', 'x'.repeat(40_000)]]),
    'a value that fills the buffer': () =>
      allow({ ...alice, 'X-Auth-Request-Groups': 'g'.repeat(31_000) }),
    'a hundred and ten headers': () => answer(200, [...allowHeaders(), ...many(110)]),
    'a challenge of 6 KB': () => deny(401, 'token_expired', [`Bearer realm="${'x'.repeat(6000)}"`]),
  }

  for (const [what, script] of Object.entries(scripts)) {
    it(`refuses in time, and HAProxy lives on: ${what}`, async () => {
      stack.verifier.script = script
      const reply = await stack.ask()
      assert.ok(reply.status === 503 || reply.status === 500, `status ${reply.status}`)
      if (reply.status === 503) assert.match(values(reply, 'retry-after')[0] ?? '', /^\d+$/)
      assert.match(JSON.parse(reply.body).reason, /^(verifier_unavailable|identity_incomplete)$/)
      assert.ok(reply.ms < inTimeMs, `${reply.ms} ms`)
      assert.equal(stack.app.requests.length, 0)
      stack.verifier.script = () => allow()
      assert.ok(stack.haproxy.isRunning())
      await eventually(stack.ask, (next) => next.status === 200)
    })
  }

  it('accepts an allow with as many headers as HAProxy can hold, and no part of a larger one', async () => {
    const statuses: number[] = []
    for (let count = 92; count <= 106; count++) {
      stack.reset()
      // What comes first is lost last, so the identity is at the end.
      const said = [...many(count - allowHeaders().length - 1), ...allowHeaders()]
      stack.verifier.script = () => answer(200, said)
      statuses.push((await stack.ask()).status)
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'], `${count} headers`)
        assert.deepEqual(values(seen, 'x-auth-request-tenant'), ['contoso-tid'])
      }
      assert.ok(stack.haproxy.isRunning())
    }
    const refused = statuses.indexOf(503)
    assert.ok(refused >= 98 - 92, statuses.join())
    assert.deepEqual(new Set(statuses.slice(refused)), new Set([503]))
  })

  for (const [what, more] of [
    ['at once', allow({ 'X-Auth-Request-User': 'eve' })],
    ['in part', allow({ 'X-Auth-Request-User': 'eve' }).slice(0, -20)],
  ] as const) {
    it(`never takes a second answer for that to the next request: sent ${what}`, async () => {
      // As a whole, both answers arrive before the next question is asked.
      stack.verifier.script = () => `${deny(401, 'token_expired')}${more}`
      for (let index = 0; index < 20; index++) {
        const { status } = await stack.ask()
        assert.ok(status === 401 || status === 503, `status ${status}`)
      }
      assert.equal(stack.app.requests.length, 0)
      stack.verifier.script = () => allow()
      await eventually(stack.ask, (next) => next.status === 200)
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      }
    })
  }

  it('does not take a line that was smuggled into the answer for an identity header', async () => {
    stack.verifier.script = () =>
      allow({ ...alice, 'X-Auth-Request-User': 'a\r\nX-Auth-Request-Evil: 1\r\nX-Evil: 1' })
    await stack.ask()
    for (const seen of stack.app.requests) {
      assert.deepEqual([...values(seen, 'x-evil'), ...values(seen, 'x-auth-request-evil')], [])
    }
  })

  it('refuses while the verifier is down, at once, and recovers by itself', async () => {
    await stack.verifier.stop()
    const reply = await stack.ask()
    assert.equal(reply.status, 503)
    assert.ok(reply.ms < inTimeMs, `${reply.ms} ms`)
    // When the health check has seen it, there is nothing to wait for any more.
    await stack.haproxy.waitForLog((line) => line.includes('entra-verifier/v1 is DOWN'))
    const later = await stack.ask()
    assert.equal(later.status, 503)
    assert.ok(later.ms < 500, `${later.ms} ms`)
    assert.equal(stack.app.requests.length, 0)
    await stack.verifier.restart()
    await eventually(stack.ask, (next) => next.status === 200, 3000)
  })
})

describe('an error in the action', () => {
  const source = readFileSync(shippedLua, 'utf8')
  const header = /^(?: {4}){0,2}(?:local )?function (\w+)\(.*\)$/gm
  const names = [...source.matchAll(header)].map((match) => match[1] ?? '')

  /** Met by requests with a session, or of browsers without one. */
  const ofSessions = new Set([
    'readSession',
    'isNavigation',
    'isCrossSite',
    'plain',
    'signInLocation',
    'readSignIn',
    'redirectReply',
    'unsentReply',
    'pageReply',
    'isRecheckPossible',
    'recheck',
  ])
  /** Only run once a session is cached. */
  const ofCachedSessions = new Set(['findSession', 'isComplete'])
  /** Only run on some refusals, so an allowed request does not meet the error. */
  const offTheWay = new Set([
    ...['countBadToken', 'unavailable', 'badSetup', 'refuse', 'refuseIncomplete'],
    ...['challengeFor', 'logOnceInAWhile', 'jsonString', 'isPreflight', 'isReason'],
    ...['readChallenges', 'readBody', 'readRetryAfter', 'judgeRefusal'],
    ...['refusalBody', 'refusalReply', 'replyToError', 'countRefusal', 'passPreflight'],
    ...['addRefusal', 'refuseByFeed', 'isTraceparent'],
    // Only run when the verifier answers with a prepared value.
    ...['judgePrepared', 'readPrepared', 'readFields', 'createOrder', 'namesOf', 'isLargestLast'],
  ])
  /** Only run on some allowed requests, most of them when a verdict is kept or found again. */
  const nowAndThen = new Set([
    ...['remember', 'createEntry', 'entrySize', 'insert', 'link', 'unlink', 'isKept', 'evict'],
    'isCacheFull',
    ...['isSameToken', 'tailOf', 'tokenOf'],
    ...['isStillGood', 'isRevoked', 'revokedBefore', 'revokedOf', 'forget', 'publishNumbers'],
    ...['isPermitted', 'keepEntry', 'recallCredentials'],
    ...['forgetExpiredShared', 'dropExpired', 'dropWritten', 'oldestWritten'],
  ])
  /** Without these there is no word of revocations, so nothing is remembered. */
  const forTheFeed = new Set([
    ...['keepPolling', 'poll', 'pollHeaders', 'judgeFeed', 'readFeed', 'parseRevocation'],
    ...[
      'parseChallenges',
      'parseMember',
      'keepKnown',
      'addRevocation',
      'revocationId',
      'acceptFeed',
    ],
    ...['shardOf', 'shardToChange', 'pauseNowAndThen', 'newKnown', 'withTag', 'forgetTags'],
    ...['dropEverything', 'forgetExpired'],
  ])
  /** Neither a verdict nor the cache depends on these. */
  const beside = new Set([
    ...['logPollProblem', 'refuseTooMany', 'addUp', 'describeMetric', 'addMetric'],
    ...['describeRefusals', 'describeFeed', 'describeNumbers', 'serveMetrics'],
    ...['forgetIfBroken', 'sweepSlice', 'parseString', 'pauseCollector', 'setCollectorSteps'],
    // An error in the converter leaves the request to the action.
    ...['encodeVarint', 'createNative', 'mayHoldManaged', 'recallSharedNative', 'convertDigest'],
    ...['decodeVarint', 'readPart', 'readNative', 'readForLane', 'complete', 'markMiss'],
    ...[
      'isSharing',
      'isInTime',
      'ofVerdict',
      'isOf',
      'hashOfPolicy',
      'hashOfList',
      'listOf',
      'createValue',
    ],
    ...[
      'recallNative',
      'convertHeaders',
      'findEntry',
      'isBefore',
      'isShared',
      'hashOf',
      'isFound',
      'plainForm',
      'createPlain',
      'readPlain',
      'readOther',
      'addWritten',
      'unsetIfOld',
      'digestOf',
      'makeRoom',
    ],
    ...[
      'count',
      'relyOnFeed',
      'usePollOfOthers',
      'recountCalls',
      'shareKnown',
      'isWholeDue',
      'isTag',
    ],
    // Only what came as a prepared value: test/e2e/shared.test.ts.
    'inOneStep',
  ])
  // One Lua for all threads has nothing to publish: only the page packs its numbers.
  const isShared = process.env.HAPROXY_LUA_LOAD === 'lua-load'
  for (const name of ['packNumbers', 'publishPoll']) (isShared ? beside : nowAndThen).add(name)
  const atStart = new Set([
    ...[
      'setsAuthResponse',
      'eachKind',
      'readVariable',
      'readSettings',
      'readArguments',
      'parseVerifier',
      'parseNumber',
    ],
    ...['parseChoice', 'parseVariables', 'parseCounter'],
  ])
  const onlyForBadSettings = new Set([
    'refuseStart',
    'settingNames',
    'parseCallerKey',
    'parseKeyFile',
  ])

  function breaking(name: string, by: string): (text: string) => string {
    const line = new RegExp(`^((?: {4}){0,2}(?:local )?function ${name}\\(.*\\))$`, 'm')
    return (text) => text.replace(line, (head) => `${head} ${by}`)
  }

  /** Asks for an allow and for refusals; the application must not see any but a whole allow. */
  async function expectClosed(stack: Stack, allowRefused: boolean, what: string): Promise<void> {
    const allowed = await stack.ask()
    if (allowRefused) {
      assert.ok(allowed.status >= 500, `${what}: status ${allowed.status}`)
      assert.equal(stack.app.requests.length, 0, what)
    }
    stack.reset()
    const scripts: Script[] = [
      () => deny(401, 'token_expired', ['Bearer realm="x"']),
      () => deny(403, 'role_missing'),
      () => deny(404, 'unknown_policy'),
      () => deny(503, 'keys_unavailable'),
      () => answer(200),
      () => 'close',
    ]
    for (const script of scripts) {
      stack.verifier.script = script
      const reply = await stack.ask()
      assert.ok(reply.status >= 400, `${what}: status ${reply.status}`)
    }
    assert.ok((await stack.ask({ headers: [] })).status >= 400, what)
    assert.equal(stack.app.requests.length, 0, what)
    assert.ok(stack.haproxy.isRunning(), what)
  }

  const revoked = { kind: 'user', id: 'contoso-tid/bob-oid', before: issuedAt, until: 9e9 }
  const feed = revocations([revoked])
  /** The action reads it member by member. */
  const spacedFeed = () =>
    answer(200, [], JSON.stringify({ version: 'version-1', revocations: [revoked] }, null, 1))

  async function expectSomeRefused(name: string): Promise<void> {
    const stack = await startStack({
      editLua: breaking(name, 'error("injected")'),
      feed,
      env: {
        ENTRA_AUTH_FAST_LANE: 'off',
        ...(name === 'evict' && { ENTRA_AUTH_CACHE_ENTRIES: '1' }),
      },
    })
    // Kept for a moment only, so that an entry is also dropped.
    stack.verifier.script = () => shortAllow
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    let allowed = 0
    try {
      let others = 0
      await eventually(
        async () => {
          // Two in turn: the list of the cache moves.
          const token = `Bearer ${others++ % 3}`
          const reply = await stack.ask({ headers: [['Authorization', token]], agent })
          assert.ok(reply.status === 200 || reply.status === 500, `status ${reply.status}`)
          if (reply.status === 200) allowed++
          return reply.status
        },
        (status) => status === 500,
      )
      assert.equal(stack.app.requests.length, allowed)
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      }
    } finally {
      agent.destroy()
      await stack.stop()
    }
  }

  async function expectNothingRemembered(name: string): Promise<void> {
    const stack = await startStack({
      editLua: breaking(name, 'error("injected")'),
      feed: name === 'parseMember' ? spacedFeed : feed,
    })
    try {
      await stack.ask()
      // What keepPolling does not ask for is no reason to wait.
      if (name === 'keepPolling') await stack.haproxy.waitForLog((line) => /injected/.test(line))
      else if (name !== 'poll' && name !== 'pollHeaders') {
        await eventually(
          () => stack.verifier.polls.length,
          (polls) => polls > 0,
        )
      }
      await expectSameVerdicts(stack, name)
    } finally {
      await stack.stop()
    }
  }

  async function expectSameVerdicts(stack: Stack, name: string): Promise<void> {
    stack.reset()
    for (let index = 0; index < 5; index++) assert.equal((await stack.ask()).status, 200, name)
    assert.equal(stack.verifier.calls.length, 5, name)
    await expectClosed(stack, false, name)
  }

  /** Requests of browsers; with a sound action only the last one reaches the application. */
  async function expectSessionsClosed(name: string): Promise<void> {
    const stack = await startStack({ editLua: breaking(name, 'error("injected")') })
    const start = ['X-Entra-Auth-Sign-In', '/oauth2/start'] as const
    const due = ['X-Entra-Auth-Recheck', '1'] as const
    const id = ['X-Entra-Auth-Session-Id', 'session-1'] as const
    const page: [string, string][] = [
      ['Sec-Fetch-Mode', 'navigate'],
      ['Sec-Fetch-Dest', 'document'],
    ]
    try {
      stack.verifier.script = (call) => {
        const [session] = values(call, 'x-entra-auth-session')
        if (session === 'good') return answer(200, [...allowHeaders(), id])
        if (session === 'due') return answer(200, [...allowHeaders(), id, due])
        return deny(401, 'no_session', [], [start])
      }
      const ask = async (session: string, method: string, headers: [string, string][]) => {
        const cookie: [string, string] = ['Cookie', `__Host-entra-session=${session}`]
        return (await stack.ask({ method, headers: [cookie, ...headers] })).status
      }
      const refused = [
        await ask('none', 'GET', page),
        await ask('none', 'POST', page),
        await ask('due', 'GET', page),
        await ask('good', 'POST', [['Origin', 'http://app.example']]),
      ]
      assert.equal(stack.app.requests.length, 0)
      const admitted = await ask('good', 'POST', [['Origin', 'https://app.example']])
      for (const status of refused) assert.ok([302, 401, 403, 500].includes(status), `${status}`)
      assert.ok([...refused, admitted].includes(500), name)
      assert.equal(stack.app.requests.length, admitted === 200 ? 1 : 0)
    } finally {
      await stack.stop()
    }
  }

  async function expectCachedSessionsClosed(name: string): Promise<void> {
    const editLua = breaking(name, 'error("injected")')
    const stack = await startStack({ editLua, feed: revocations() })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const cookie = ['Cookie', `__Host-entra-session=${'S'.repeat(900)}`] as const
    const headers = [cookie, ['Sec-Fetch-Site', 'same-origin'] as const]
    try {
      const id = ['X-Entra-Auth-Session-Id', 'session-1'] as const
      stack.verifier.script = () => answer(200, [...allowHeaders(), id])
      const statuses: number[] = []
      await eventually(
        async () => {
          statuses.push((await stack.ask({ agent, headers })).status)
          return statuses.at(-1)
        },
        (status) => status === 500,
      )
      assert.deepEqual(
        statuses.filter((status) => status !== 200),
        [500],
      )
      assert.equal(stack.app.requests.length, statuses.length - 1)
    } finally {
      agent.destroy()
      await stack.stop()
    }
  }

  it('knows the functions of the file', () => {
    assert.ok(names.length > 30, names.join())
    for (const name of [
      ...atStart,
      ...onlyForBadSettings,
      ...nowAndThen,
      ...forTheFeed,
      ...beside,
      ...ofSessions,
      ...ofCachedSessions,
    ])
      assert.ok(names.includes(name), name)
  })

  for (const name of names) {
    if (onlyForBadSettings.has(name)) continue
    if (atStart.has(name)) {
      it(`stops the start: ${name}`, async () => {
        const options = { editLua: breaking(name, 'error("injected")') }
        assert.match(await complaintOfStart(options), /injected/)
      })
      continue
    }
    if (nowAndThen.has(name)) {
      it(`refuses the requests that meet it: ${name}`, () => expectSomeRefused(name))
      continue
    }
    if (forTheFeed.has(name)) {
      it(`leaves nothing in the cache: ${name}`, () => expectNothingRemembered(name))
      continue
    }
    if (beside.has(name)) {
      it(`lets no verdict change: ${name}`, async () => {
        const stack = await startStack({ editLua: breaking(name, 'error("injected")') })
        try {
          await fetch(stack.haproxy.metricsUrl).catch(() => undefined)
          await expectSameVerdicts(stack, name)
        } finally {
          await stack.stop()
        }
      })
      continue
    }
    if (ofSessions.has(name)) {
      it(`refuses the requests with a session that meet it: ${name}`, () =>
        expectSessionsClosed(name))
      continue
    }
    if (ofCachedSessions.has(name)) {
      it(`refuses the requests with a cached session that meet it: ${name}`, () =>
        expectCachedSessionsClosed(name))
      continue
    }
    it(`refuses every request: ${name}`, async () => {
      const stack = await startStack({ editLua: breaking(name, 'error("injected")') })
      try {
        await expectClosed(stack, !offTheWay.has(name), name)
      } finally {
        await stack.stop()
      }
    })
  }

  /** Asks for a verdict that meets an error, and then for one that was in the cache before. */
  async function afterError(
    t: Life,
    editLua: (text: string) => string,
    script: Script = () => allow(),
  ): Promise<Reply> {
    const stack = await startCacheStack({
      editLua: (text) => editLua(pollingFast(text)),
      // Or the verdict would come from another thread.
      env: { ENTRA_AUTH_SHARED_BYTES: '0' },
    })
    t.after(() => stack.stop())
    stack.verifier.script = script
    await stack.untilRemembered()
    const headers = [
      ['Authorization', 'Bearer another'],
      ['X-Breaks', '1'],
    ] as const
    assert.equal((await stack.askFor('', { headers })).status, 500)
    return stack.askFor()
  }

  it('leaves the cache as it is, or anybody with such a request could empty it', async (t) => {
    const name = 'readRequestId'
    const by = 'if headerNames:find("x-breaks", 1, true) then error("injected") end'
    assert.ok(isHit(await afterError(t, breaking(name, by))))
  })

  for (const [form, script] of [
    ['headers', () => allow()],
    ['a prepared value', () => allowPrepared(alice)],
  ] as const) {
    it(`empties the cache where it broke a change of it: ${form}`, async (t) => {
      const by = 'if entry.credentials:find("another", 1, true) then error("injected") end'
      const reply = await afterError(t, breaking('link', by), script)
      assert.equal(reply.status, 200)
      assert.ok(!isHit(reply))
    })
  }

  it('is answered with 500, a reason and a log line', async () => {
    const stack = await startStack({ editLua: breaking('judge', 'error("injected")') })
    try {
      const reply = await stack.ask()
      assert.equal(reply.status, 500)
      assert.equal(JSON.parse(reply.body).reason, 'internal_error')
      await stack.haproxy.waitForLog((line) => /error in the action: .*injected/.test(line))
    } finally {
      await stack.stop()
    }
  })

  it('refuses when the error strikes after the identity headers are set', async () => {
    const late = replacing('    local largest = names[#names]', '    error("injected")')
    const stack = await startStack({ editLua: late })
    try {
      await expectClosed(stack, true, 'setIdentity')
    } finally {
      await stack.stop()
    }
  })

  it('refuses when handling the error fails too', async () => {
    const twice = (text: string) =>
      breaking('replyToError', 'error("again")')(breaking('judge', 'error("injected")')(text))
    const stack = await startStack({ editLua: twice })
    try {
      await expectClosed(stack, true, 'judge and replyToError')
    } finally {
      await stack.stop()
    }
  })

  it('refuses when a second action fails outright after a first that allowed', async () => {
    const call = 'local finished, reply = pcall'
    const second = 'if policy == "second" then error("injected") end'
    const line = 'http-request lua.entra-auth orders'
    const stack = await startStack({
      editLua: replacing(call, `${second} ${call}`),
      editConfig: replacing(line, `${line}\n    http-request lua.entra-auth second`),
      env: { ENTRA_AUTH_FAST_LANE: 'off' },
    })
    try {
      await expectClosed(stack, true, 'run')
    } finally {
      await stack.stop()
    }
  })

  it('refuses when the action runs out of its CPU time', async () => {
    const stack = await startStack({
      editLua: breaking('judge', 'while true do end'),
      editConfig: replacing(
        '    maxconn 4000',
        '    maxconn 4000\n    tune.lua.session-timeout 100',
      ),
    })
    try {
      const reply = await stack.ask()
      assert.ok(reply.status >= 500, `status ${reply.status}`)
      assert.equal(stack.app.requests.length, 0)
    } finally {
      await stack.stop()
    }
  })

  it('refuses when it runs out of its CPU time after a look into the cache', async () => {
    const stack = await startStack({
      feed: revocations(),
      editLua: breaking('judge', 'if credentials:find("endless") then while true do end end'),
      editConfig: replacing(
        '    maxconn 4000',
        '    maxconn 4000\n    tune.lua.session-timeout 100',
      ),
      env: { ENTRA_AUTH_FAST_LANE: 'off' },
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    try {
      // The look into the cache ends HAProxy's count of instructions; the answer has to start it again.
      await eventually(
        async () => {
          await stack.ask({ agent })
          return stack.app.requests.length - stack.verifier.calls.length
        },
        (hits) => hits > 0,
      )
      stack.reset()
      const reply = await stack.ask({ agent, headers: [['Authorization', 'Bearer endless']] })
      assert.ok(reply.status >= 500, `status ${reply.status}`)
      assert.equal(stack.app.requests.length, 0)
      assert.ok(stack.haproxy.isRunning())
    } finally {
      agent.destroy()
      await stack.stop()
    }
  })

  it('refuses when Lua runs out of memory', async () => {
    const stack = await startStack({
      editLua: breaking(
        'judge',
        'local all = {} for i = 1, 100 do all[i] = ("x"):rep(1048576 + i) end',
      ),
      editConfig: replacing('    maxconn 4000', '    maxconn 4000\n    tune.lua.maxmem 20'),
    })
    try {
      const reply = await stack.ask()
      assert.ok(reply.status >= 500, `status ${reply.status}`)
      assert.equal(stack.app.requests.length, 0)
    } finally {
      await stack.stop()
    }
  })
})

describe('the configuration', () => {
  it('does not start with a section that forgot mode http', async () => {
    const [port] = await freePorts(1)
    // In TCP mode, which is HAProxy's default, both lines are ignored with no more than a warning.
    const forgetful = (text: string) => `${text}
listen forgetful
    mode tcp
    bind 127.0.0.1:${port}
    http-request lua.entra-auth orders
    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }
    server app 127.0.0.1:9
`
    assert.match(await complaintOfStart({ editConfig: forgetful }), /HTTP mode|mode http|warning/i)
  })

  it('refuses by its guard when the action is a no-op', async () => {
    const stack = await startStack({
      editLua: (text) =>
        text.replace(/^local function run\(.*\)$/m, (head) => `${head} do return end`),
    })
    try {
      const reply = await stack.ask()
      assert.equal(reply.status, 503)
      assert.equal(stack.app.requests.length, 0)
    } finally {
      await stack.stop()
    }
  })

  it('runs next to another one on the same host, each with its own port', async () => {
    const [one, other] = await Promise.all([startStack(), startStack()])
    try {
      other.verifier.script = () => allow({ ...alice, 'X-Auth-Request-User': 'bob-oid' })
      for (let index = 0; index < 20; index++) {
        const replies = await Promise.all([one.ask(), other.ask()])
        const users = replies.map(({ body }) => values(JSON.parse(body), 'x-auth-request-user')[0])
        assert.deepEqual(users, ['alice-oid', 'bob-oid'])
      }
      assert.deepEqual([one.verifier.calls.length, other.verifier.calls.length], [20, 20])
      await one.haproxy.stop()
      assert.equal((await other.ask()).status, 200)
    } finally {
      await Promise.all([one.stop(), other.stop()])
    }
  })

  it('does not share its loopback port with another HAProxy', async () => {
    const stack = await startStack()
    try {
      const env = { ENTRA_AUTH_VERIFIER: stack.haproxy.verifierSection }
      assert.match(await complaintOfStart({ env }), /cannot bind|in use/i)
    } finally {
      await stack.stop()
    }
  })
})
