// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, it } from 'node:test'
import { promisify } from 'node:util'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { findHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { pollingFast, readMetrics, startCacheStack } from './cache-stack.ts'
import { deny } from './fake-verifier.ts'
import { complaintOfStart, replacing, type StackOptions, startStack } from './stack.ts'

const lua = 'lua-load-per-thread "${ENTRA_AUTH_LUA_FILE-/etc/haproxy/entra-auth.lua}"'
const loading = (settings: string) => replacing(lua, `${lua} ${settings}`)

/** HAProxy hands arguments to a Lua file from 2.7 on. */
async function hasArguments(): Promise<boolean> {
  const { command, args } = await findHaproxy()
  const { stdout } = await promisify(execFile)(command, [...args, '-v'])
  const [, major = '0', minor = '0'] = /version (\d+)\.(\d+)/.exec(stdout) ?? []
  return Number(major) > 2 || Number(minor) >= 7
}

async function assertStartFails(options: StackOptions, complaint: string): Promise<void> {
  const message = await complaintOfStart(options)
  const lines = message.split('\n').filter((line) => line.includes('entra-auth: '))
  assert.equal(lines.length, 1, message)
  assert.ok(lines[0]?.includes(complaint), message)
}

describe('a setting from the environment', () => {
  for (const [env, complaint] of [
    [{ ENTRA_AUTH_VERIFIER: 'localhost:14480' }, 'ENTRA_AUTH_VERIFIER must be a loopback address'],
    [{ ENTRA_AUTH_VERIFIER: '127.0.0.1' }, 'ENTRA_AUTH_VERIFIER must be'],
    [{ ENTRA_AUTH_TIMEOUT_MS: '2s' }, 'ENTRA_AUTH_TIMEOUT_MS must be a whole number from 100'],
    [{ ENTRA_AUTH_TIMEOUT_MS: '5' }, 'ENTRA_AUTH_TIMEOUT_MS must be'],
    [{ ENTRA_AUTH_TIMEOUT_MS: '' }, 'ENTRA_AUTH_TIMEOUT_MS is empty'],
    [
      { ENTRA_AUTH_CORS_PREFLIGHT: 'yes' },
      'ENTRA_AUTH_CORS_PREFLIGHT must be one of: refuse, pass',
    ],
    [{ ENTRA_AUTH_MAX_TOKEN_BYTES: '-1' }, 'ENTRA_AUTH_MAX_TOKEN_BYTES must be'],
    [{ ENTRA_AUTH_CACHE_ENTRIES: 'many' }, 'ENTRA_AUTH_CACHE_ENTRIES must be a whole number'],
    [
      { ENTRA_AUTH_CACHE_BYTES: '1000' },
      'ENTRA_AUTH_CACHE_BYTES must be a whole number from 65536',
    ],
    [
      { ENTRA_AUTH_FEED_STALE_SECONDS: '3600' },
      'ENTRA_AUTH_FEED_STALE_SECONDS must be a whole number from 2 to 300',
    ],
    [{ ENTRA_AUTH_VARIABLES: 'user,usr' }, 'ENTRA_AUTH_VARIABLES must be all, none, or names'],
    [{ ENTRA_AUTH_VARIABLES: 'none,user' }, 'ENTRA_AUTH_VARIABLES must be all, none, or names'],
    [{ ENTRA_AUTH_CALLER_KEY: 'two words' }, 'ENTRA_AUTH_CALLER_KEY must be printable ASCII'],
    [{ ENTRA_AUTH_CALLER_KEY: '' }, 'ENTRA_AUTH_CALLER_KEY is empty'],
  ] as const) {
    it(`stops the start with one clear line: ${JSON.stringify(env)}`, async () => {
      // The section listens where it should; only the action gets the bad value.
      const [port] = await freePorts(1)
      const bind = replacing(
        'bind "${ENTRA_AUTH_VERIFIER-127.0.0.1:14480}"',
        `bind 127.0.0.1:${port}`,
      )
      await assertStartFails({ env: { ...env }, editConfig: bind }, complaint)
    })
  }

  it('never shows the caller key', async () => {
    const env = { ENTRA_AUTH_CALLER_KEY: 'secret key' }
    assert.doesNotMatch(await complaintOfStart({ env }), /secret/)
  })

  it('takes an address of IPv6', async () => {
    const [port] = await freePorts(1)
    const stack = await startStack({ env: { ENTRA_AUTH_VERIFIER: `[::1]:${port}` } })
    try {
      assert.equal((await stack.ask()).status, 200)
    } finally {
      await stack.stop()
    }
  })
})

describe('a setting as an argument', () => {
  for (const [settings, complaint] of [
    ['verifier=verifier.internal:80', 'verifier must be a loopback address'],
    ['verifier=10.0.0.1:80', 'verifier must be a loopback address'],
    ['verifier=127.0.0.1:99999', 'verifier must be a loopback address'],
    ['timeout-ms=never', 'timeout-ms must be a whole number'],
    ['cors-preflight=maybe', 'cors-preflight must be one of'],
    ['caller-key=secret', 'caller-key comes from the variable ENTRA_AUTH_CALLER_KEY only'],
    ['verifer=127.0.0.1:1', "unknown setting 'verifer'; there are: cache-bytes,"],
    ['127.0.0.1:1', 'is not of the form key=value'],
    ['timeout-ms=', 'timeout-ms is empty'],
    ['timeout-ms=500 timeout-ms=600', 'timeout-ms is given twice'],
  ] as const) {
    it(`stops the start with one clear line: ${settings}`, async () => {
      const editConfig = loading(settings)
      if (await hasArguments()) return assertStartFails({ editConfig }, complaint)
      // 2.6 hands nothing over and says nothing: documented, and all the more reason for setenv.
      await (await startStack({ editConfig })).stop()
    })
  }

  it('wins over the environment', async () => {
    if (!(await hasArguments())) {
      await (await startStack({ env: { ENTRA_AUTH_TIMEOUT_MS: '500' } })).stop()
      return
    }
    const env = { ENTRA_AUTH_TIMEOUT_MS: 'bad' }
    await (await startStack({ env, editConfig: loading('timeout-ms=500') })).stop()
  })
})

describe('the action', () => {
  it('needs nothing of Lua but its plain functions, and leaves no global behind', async () => {
    // Whatever else is read or written stops the start or refuses the request.
    const forbidding = `
      for _, name in ipairs({ "io", "require", "package", "debug", "load", "loadfile", "dofile", "print", "coroutine", "collectgarbage" }) do _G[name] = nil end
      os = { getenv = os.getenv }
      setmetatable(_G, {
        __index = function(_, name) error("reads the global " .. tostring(name)) end,
        __newindex = function(_, name) error("writes the global " .. tostring(name)) end,
      })`.replaceAll('\n', ' ')
    const stack = await startCacheStack({ editLua: (text) => `${forbidding} ${pollingFast(text)}` })
    try {
      await stack.untilRemembered()
      assert.ok((await readMetrics(stack)).size > 10)
      stack.verifier.script = () => deny(403, 'role_missing')
      assert.equal((await stack.askFor('refused')).status, 403)
      stack.verifier.script = () => 'close'
      assert.equal((await stack.askFor('unanswered')).status, 503)
      assert.deepEqual(
        stack.haproxy.logLines.filter((line) => line.includes('the global')),
        [],
      )
    } finally {
      await stack.stop()
    }
  })
})
