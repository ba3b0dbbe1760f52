import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { shippedLua } from '../../scripts/local-stack/haproxy.ts'
import { type CacheStack, startCacheStack } from '../e2e/cache-stack.ts'
import { type Ask, type Reply, values } from '../e2e/client.ts'
import { allow, allowHeaders, answer, deny, type Script } from '../e2e/fake-verifier.ts'

/**
 * Stands before the first line of the action, on that line: raises an error at the line that a request
 * names, once, or writes down each line that a request comes by. HAProxy puts a hook of its own in
 * place whenever an action waits, so it is set again after each answer of the verifier. The action itself must
 * not remove it, to stop HAProxy's count of instructions. In a block: Lua
 * allows a file 200 local variables, and the action has most of them.
 */
const prelude = `
do
local wanted, inside, seen, about
local sethook = debug.sethook
debug.sethook = function() end
local function step(_, line)
  if wanted == "all" then
    if not seen[line] then seen[line] = true about:set_var("txn.lines", (about:get_var("txn.lines") or "") .. " " .. line) end
  elseif line == wanted then
    wanted = nil
    about:set_var("txn.lines", " " .. line)
    error("injected")
  end
end
local register = core.register_action
core.register_action = function(name, places, action, count)
  register(name, places, function(txn, policy)
    local line = txn.sf:req_fhdr("x-line")
    wanted, inside, seen, about = line == "all" and line or tonumber(line), coroutine.running(), {}, txn
    if wanted then sethook(step, "l") end
    action(txn, policy)
  end, count)
end
local client = core.httpclient
core.httpclient = function()
  local real = client()
  return { get = function(_, request)
    local response = real:get(request)
    if wanted and coroutine.running() == inside then sethook(step, "l") end
    return response
  end }
end
end
`.replaceAll('\n', ' ')

const source = readFileSync(shippedLua, 'utf8').split('\n')
const startOfRun = source.findIndex((line) => line.startsWith('local function run(')) + 1

const withToken = (token: string): Ask => ({ headers: [['Authorization', `Bearer ${token}`]] })

describe('an error at each step of the action', () => {
  let stack: CacheStack
  let tokens = 0
  before(async () => {
    const show = 'http-after-response set-header x-lines %[var(txn.lines)]'
    const line = 'http-request lua.entra-auth orders'
    stack = await startCacheStack({
      env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: '1000000', ENTRA_AUTH_CORS_PREFLIGHT: 'pass' },
      editLua: (text) => `${prelude}${text}`,
      editConfig: (text) =>
        text
          .replace('monitor-uri', () => `${show}\n    monitor-uri`)
          .replace(
            line,
            `${line} unless { path /observed }\n    http-request lua.entra-auth-observe orders if { path /observed }`,
          ),
    })
    await stack.untilRemembered('warm')
  })
  after(() => stack.stop())

  interface Scenario {
    readonly script: Script
    readonly ask: () => Ask
    /** Asks beforehand, so that the verdict is remembered. */
    readonly isHit?: boolean
    /** The application is reached where nothing fails. */
    readonly isAllowed?: boolean
    /** …but without an identity. */
    readonly isNobody?: boolean
  }
  const newToken = () => withToken(`t${tokens++}`)
  const preflight = [
    ['Origin', 'https://web.example'],
    ['Access-Control-Request-Method', 'POST'],
  ] as const
  const scenarios: Readonly<Record<string, Scenario>> = {
    'an allow': { script: () => allow(), ask: newToken, isAllowed: true },
    'a remembered allow': {
      script: () => allow(),
      ask: () => withToken('remembered'),
      isHit: true,
      isAllowed: true,
    },
    'an allow on probation': {
      script: () => answer(200, [...allowHeaders(), ['X-Entra-Auth-Report', 'role_missing']]),
      ask: newToken,
      isAllowed: true,
      isNobody: true,
    },
    'an allow that is only observed': {
      script: () => allow(),
      ask: () => ({ ...newToken(), path: '/observed' }),
      isAllowed: true,
      isNobody: true,
    },
    'a preflight': {
      script: () => allow(),
      ask: () => ({ method: 'OPTIONS', headers: preflight }),
      isAllowed: true,
      isNobody: true,
    },
    'a refusal of the token': {
      script: () => deny(401, 'token_expired', ['Bearer realm="x"', 'Bearer realm="y"']),
      ask: newToken,
    },
    'a refusal of the policy': { script: () => deny(403, 'role_missing'), ask: newToken },
    'a refusal that is only observed': {
      script: () => deny(403, 'role_missing'),
      ask: () => ({ ...newToken(), path: '/observed' }),
    },
    'an outage of the keys': {
      script: () => deny(503, 'keys_unavailable', [], [['Retry-After', '7']]),
      ask: newToken,
    },
    'an unknown policy': { script: () => deny(404, 'unknown_policy'), ask: newToken },
    'another contract': {
      script: () => answer(200, [['X-Entra-Auth-Verdict', 'allow']]),
      ask: newToken,
    },
    'an answer that is none': { script: () => answer(200), ask: newToken },
    'a verifier that closes': { script: () => 'close', ask: newToken },
    'no credentials': { script: () => deny(401, 'no_credentials'), ask: () => ({ headers: [] }) },
    'two tokens': {
      script: () => allow(),
      ask: () => ({ headers: [...(newToken().headers ?? []), ['Authorization', 'Bearer other']] }),
    },
    'a token that is too long': {
      script: () => allow(),
      ask: () => withToken('t'.repeat(16_385)),
    },
  }

  async function send(scenario: Scenario, line: number | 'all'): Promise<Reply> {
    if (scenario.isHit) await stack.untilRemembered('remembered')
    stack.reset()
    stack.verifier.script = scenario.script
    const what = scenario.ask()
    return stack.askFor('', {
      ...what,
      headers: [...(what.headers ?? []), ['X-Line', String(line)]],
    })
  }
  const linesOf = (reply: Reply) =>
    (values(reply, 'x-lines')[0] ?? '').split(' ').filter(Boolean).map(Number)

  function assertWhole({ isNobody }: Scenario, what: string): void {
    for (const seen of stack.app.requests) {
      const identity = seen.headers.filter(([name]) => /^x-auth-request/i.test(name))
      const user = values(seen, 'x-auth-request-user')
      assert.deepEqual(isNobody ? identity : user, isNobody ? [] : ['alice-oid'], what)
      if (!isNobody) assert.equal(identity.length, 3, what)
    }
  }

  for (const [name, scenario] of Object.entries(scenarios)) {
    it(`ends in a refusal: ${name}`, async () => {
      assert.ok(startOfRun > 0, 'the function "run" has another name: adapt this test')
      const untouched = await send(scenario, 'all')
      assert.equal(stack.app.requests.length, scenario.isAllowed ? 1 : 0)
      assertWhole(scenario, 'without an error')
      const lines = linesOf(untouched)
      assert.ok(lines.length > 10, lines.join())
      let raised = 0
      for (const line of lines) {
        // An error empties the cache, and a request that finds it empty takes another way.
        if (!scenario.isHit) await stack.askFor('warm')
        const reply = await send(scenario, line)
        const isRaised = linesOf(reply).length > 0
        if (isRaised) raised++
        const what = `${name}, line ${line}: ${source[line - 1]?.trim()}`
        // From `run` on, all may be decided and done: an error then changes nothing any more.
        if (scenario.isAllowed && reply.status < 400 && (!isRaised || line >= startOfRun)) {
          assertWhole(scenario, what)
        } else {
          assert.ok(reply.status >= 400, `${what}: status ${reply.status}`)
          assert.equal(stack.app.requests.length, 0, what)
        }
      }
      // Some steps are taken once in a while only, as those of the log.
      assert.ok(raised > 0.7 * lines.length, `${raised} of ${lines.length} lines`)
      assert.ok(stack.haproxy.isRunning())
      // Nothing is left of all this.
      stack.verifier.script = () => allow()
      assert.equal((await stack.askFor('after')).status, 200)
    })
  }
})
