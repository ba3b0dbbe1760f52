import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { isHit, startCacheStack } from './cache-stack.ts'
import { values } from './client.ts'
import { allow, deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

const limit = 5

describe('a source that keeps sending bad tokens', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack({ env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: String(limit) } })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  let sources = 1
  /** An address of this machine that was not limited yet. */
  const newSource = (t: { after(cleanUp: () => void): void }) => {
    const agent = new Agent({ localAddress: `127.0.0.${++sources}`, keepAlive: true })
    t.after(() => agent.destroy())
    return agent
  }
  async function askTimes(times: number, agent: Agent): Promise<number[]> {
    const statuses: number[] = []
    for (let i = 0; i < times; i++) statuses.push((await stack.ask({ agent })).status)
    return statuses
  }

  it('waits, and nobody is asked about its tokens any more', async (t) => {
    const agent = newSource(t)
    stack.verifier.script = () => deny(401, 'signature_invalid')
    assert.deepEqual(await askTimes(limit + 1, agent), Array(limit + 1).fill(401))
    const calls = stack.verifier.calls.length
    const refusal = await stack.ask({ agent })
    assert.equal(refusal.status, 429)
    assert.deepEqual(values(refusal, 'retry-after'), ['10'])
    assert.equal(stack.verifier.calls.length, calls)
  })

  it('loses its calls, but still gets cached verdicts', async (t) => {
    const own = await startCacheStack({ env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: String(limit) } })
    t.after(() => own.stop())
    await own.untilRemembered('good')
    own.verifier.script = () => deny(401, 'signature_invalid')
    for (let index = 0; index < limit + 2; index++) await own.askFor(`bad-${index}`)
    assert.equal((await own.askFor('bad')).status, 429)
    const hit = await own.askFor('good')
    assert.ok(hit.status === 200 && isHit(hit))
  })

  it('is counted only where a setting names the counter', async (t) => {
    const own = await startStack({
      env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: '1' },
      // An operator's own meaning of the same counter: above 0 is banned.
      editConfig: (text) =>
        text
          .replace(/^ *setenv ENTRA_AUTH_COUNT_BAD_TOKENS .*$/m, '')
          .replace(
            'use_backend entra-metadata',
            'http-request deny deny_status 410 if { sc_get_gpc0(0) gt 0 }\n    use_backend entra-metadata',
          ),
    })
    t.after(() => own.stop())
    own.verifier.script = () => deny(401, 'token_expired')
    for (let index = 0; index < 5; index++) assert.equal((await own.ask()).status, 401)
  })

  for (const [what, line, instead] of [
    ['that tracks no source', /http-request track-sc0 .*/, ''],
    ['that tracks some sources', /(http-request track-sc0 .*)/, '$1 if { path /other }'],
    ['whose table has no such counter', 'store gpc0,gpc0_rate(10s)', 'store http_req_cnt'],
  ] as const) {
    it(`has its tokens verified in a frontend ${what}`, async (t) => {
      const own = await startStack({ editConfig: (text) => text.replace(line, instead) })
      t.after(() => own.stop())
      assert.equal((await own.ask()).status, 200)
      own.verifier.script = () => deny(401, 'signature_invalid')
      assert.equal((await own.ask()).status, 401)
    })
  }

  it('has its tokens verified where it comes over a unix socket', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'entra-auth-socket-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const socketPath = join(folder, 'www.sock')
    const own = await startStack({
      editConfig: (text) => text.replace('\n    maxconn 1500', `\n    bind unix@${socketPath}$&`),
    })
    t.after(() => own.stop())
    const status = await new Promise((done, fail) => {
      const headers = { Host: 'app.example', Authorization: 'Bearer t' }
      get({ socketPath, headers, agent: false }, (answer) => {
        answer.resume()
        done(answer.statusCode)
      }).on('error', fail)
    })
    assert.equal(status, 200)
  })

  for (const [what, cookies] of Object.entries({
    'forged sessions': (index: number) => `__Host-entra-session=forged-${index}`,
    'sessions that are no text of ours': (index: number) => `__Host-entra-session="${index}"`,
    'two sessions at a time': (index: number) =>
      `__Host-entra-session=a${index}; __Host-entra-session=b${index}`,
  })) {
    it(`is one with ${what}`, async (t) => {
      const agent = newSource(t)
      const signIn = [['X-Entra-Auth-Sign-In', '/oauth2/start']] as const
      stack.verifier.script = () => deny(401, 'no_session', [], signIn)
      const send = (index: number) =>
        stack.ask({ agent, headers: [['Cookie', `theme=dark; ${cookies(index)}`]] })
      for (let index = 0; index <= limit; index++) assert.equal((await send(index)).status, 401)
      const calls = stack.verifier.calls.length
      const refusal = await send(limit + 1)
      assert.equal(refusal.status, 429)
      assert.deepEqual(values(refusal, 'x-entra-auth-reason'), ['too_many_bad_tokens'])
      assert.equal(stack.verifier.calls.length, calls)
      // Whoever has no cookie may still sign in.
      assert.equal((await stack.ask({ agent, headers: [] })).status, 401)
    })
  }

  for (const [what, reason, headers] of [
    ['no cookie', 'no_session', []],
    ['sessions that ended', 'session_ended', [['Cookie', '__Host-entra-session=old']]],
    ['sessions to re-check', 'session_recheck', [['Cookie', '__Host-entra-session=due']]],
  ] as const) {
    it(`is not one with ${what}`, async (t) => {
      const agent = newSource(t)
      const signIn = [['X-Entra-Auth-Sign-In', '/oauth2/start']] as const
      stack.verifier.script = () => deny(401, reason, [], signIn)
      for (let index = 0; index < limit * 3; index++) {
        assert.equal((await stack.ask({ agent, headers })).status, 401)
      }
    })
  }

  it('does not keep other sources waiting', async (t) => {
    const bad = newSource(t)
    stack.verifier.script = () => deny(401, 'signature_invalid')
    await askTimes(limit + 2, bad)
    stack.verifier.script = () => allow()
    assert.equal((await stack.ask({ agent: bad })).status, 429)
    assert.equal((await stack.ask({ agent: newSource(t) })).status, 200)
  })

  for (const [what, status, reason] of [
    ['no credentials', 401, 'no_credentials'],
    ['good tokens that lack a scope', 403, 'scope_missing'],
    ['an outage of the keys', 503, 'keys_unavailable'],
  ] as const) {
    it(`is not one with ${what}`, async (t) => {
      stack.verifier.script = () => deny(status, reason)
      const statuses = await askTimes(limit * 3, newSource(t))
      assert.deepEqual(statuses, Array(limit * 3).fill(status))
    })
  }
})
