// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { configOf, signInFile } from '../config/fixture.ts'
import { eventually } from '../support/eventually.ts'
import { values } from './client.ts'
import { allowHeaders, answer, deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

/** Cookies that a browser sends, and what is left of them for the application. */
const cookies: readonly [sent: readonly string[], left: readonly string[]][] = [
  [['__Host-entra-session=good'], []],
  [['a=1; __Host-entra-session=good; b=2'], ['a=1; b=2']],
  [['__Host-entra-session=good; a=1'], ['a=1']],
  [['a=1; __Host-entra-session=good'], ['a=1']],
  [['__Host-entra-login=x; __Host-entra-session=good; a=1'], ['a=1']],
  [['__Host-entra-session=good; __Host-entra-login=x; __Host-entra-login=y'], []],
  [['a=1;__Host-entra-session=good;b=2'], ['a=1;b=2']],
  [['a=1', '__Host-entra-session=good'], []],
  [['a=__Host-entra-session; __Host-entra-session=good'], ['a=__Host-entra-session']],
  [['x__Host-entra-session=1;  __Host-entra-session=good'], ['x__Host-entra-session=1']],
  [['__Host-entra-session=good', 'a=1'], ['a=1']],
  [['a=__Host-entra-session=x; __Host-entra-session=good'], ['a=__Host-entra-session=x']],
]

/** The printed configuration, with the addresses of this test in it. */
async function startPrinted(listener: EchoApp): Promise<Stack> {
  const text = printHaproxyConfig({
    config: await configOf(signInFile),
    verifier: '127.0.0.1:8080',
    metadataPaths: [],
  })
    .replaceAll('server v1 127.0.0.1:8080', 'server v1 "${ENTRA_AUTH_VERIFIER_SERVER}"')
    .replace('server s1 127.0.0.1:8081', `server s1 ${listener.address}`)
    .replace(/server app \S+/, 'server app "${ENTRA_AUTH_APP_SERVER}"')
  return startStack({ editConfig: () => text })
}

/** The shipped one, in which a variable switches sign-in on. */
const startShipped = ({ address }: EchoApp) =>
  startStack({ env: { ENTRA_AUTH_SIGN_IN_SERVER: address } })

/** What reached the listener besides HAProxy's health checks. */
const askedBy = ({ requests }: EchoApp) => requests.filter(({ url }) => url !== '/readyz')

for (const [name, start] of [
  ['printed', startPrinted],
  ['shipped', startShipped],
] as const) {
  describe(`the ${name} configuration with sign-in`, () => {
    let stack: Stack
    let listener: EchoApp
    before(async () => {
      listener = await startEchoApp()
      stack = await start(listener)
    })
    after(async () => {
      await stack.stop()
      await listener.stop()
    })
    beforeEach(() => {
      stack.reset()
      listener.requests.length = 0
      stack.verifier.script = (call) =>
        values(call, 'x-entra-auth-session')[0] === 'good'
          ? answer(200, [...allowHeaders(), ['X-Entra-Auth-Session-Id', 's1']])
          : deny(401, 'no_session', [], [['X-Entra-Auth-Sign-In', '/oauth2/start']])
    })

    it('sends /oauth2/ to the sign-in listener, with HAProxy’s own word on host and scheme', async () => {
      const reply = await stack.ask({
        path: '/oauth2/start?rd=%2Fa',
        headers: [
          ['X-Forwarded-Host', 'evil.example'],
          ['X-Forwarded-Proto', 'https'],
          ['Cookie', '__Host-entra-login=x'],
        ],
      })
      assert.equal(reply.status, 200)
      const [seen] = askedBy(listener)
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-forwarded-host'), ['app.example'])
      assert.deepEqual(values(seen, 'x-forwarded-proto'), ['http'])
      assert.deepEqual(values(seen, 'cookie'), ['__Host-entra-login=x'])
      assert.equal(stack.app.requests.length, 0)
      assert.equal(stack.verifier.calls.length, 0)
    })

    it('asks the listener whether it is ready', async () => {
      await eventually(
        () => listener.requests.some(({ method, url }) => method === 'GET' && url === '/readyz'),
        (isAsked) => isAsked,
      )
    })

    for (const path of ['/oauth2', '/oauth2x/start', '/OAUTH2/start', '/x/oauth2/start']) {
      it(`asks for a verdict on any other path: ${path}`, async () => {
        assert.equal((await stack.ask({ path, headers: [] })).status, 401)
        assert.deepEqual(askedBy(listener), [])
      })
    }

    for (const [sent, left] of cookies) {
      it(`takes the session out of the cookies of the application: ${sent.join(' | ')}`, async () => {
        const headers = sent.map((value) => ['Cookie', value] as const)
        assert.equal((await stack.ask({ headers })).status, 200)
        const [seen] = stack.app.requests
        assert.deepEqual(seen && values(seen, 'cookie'), left)
      })
    }

    for (const sent of [
      ['a=1;\t__Host-entra-session=good'],
      ['__Host-entra-session =good'],
      ['a=1, __Host-entra-session=good'],
      ['a=1,__Host-entra-session=good; b=2'],
      ['a=__Host-entra-session=good'],
      ['__Host-entra-session=good', 'a=1, __Host-entra-session=good'],
      ['a=1, __Host-entra-session=good', '__Host-entra-session=good'],
    ]) {
      it(`takes no cookie for a session that it would leave there: ${sent.join(' | ')}`, async () => {
        const headers = sent.map((value) => ['Cookie', value] as const)
        assert.equal((await stack.ask({ headers })).status, 401)
        assert.deepEqual(stack.app.requests, [])
      })
    }

    it('leaves other cookies as they are', async () => {
      const cookie = ['Cookie', 'a=1; b="x;y"; c=%20'] as const
      assert.equal((await stack.ask({ headers: [cookie] })).status, 401)
      stack.verifier.script = () => answer(200, allowHeaders())
      const bearer = ['Authorization', 'Bearer t'] as const
      assert.equal((await stack.ask({ headers: [bearer, cookie] })).status, 200)
      const [seen] = stack.app.requests
      assert.deepEqual(seen && values(seen, 'cookie'), [cookie[1]])
    })
  })
}

describe('the shipped configuration without sign-in', () => {
  it('sends /oauth2/ to the application’s policy, as every other path', async (t) => {
    const stack = await startStack()
    t.after(() => stack.stop())
    stack.verifier.script = () => deny(401, 'no_credentials')
    assert.equal((await stack.ask({ path: '/oauth2/start', headers: [] })).status, 401)
    assert.equal(stack.app.requests.length, 0)
  })
})
