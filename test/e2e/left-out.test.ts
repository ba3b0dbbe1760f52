/** The shipped configuration without every line that nobody misses: nobody gets past it either. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { harmless, linesWithSections } from '../drift/harmless-lines.ts'
import { askRaw, values } from './client.ts'
import { deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

/** What the rest of the file cannot do without, or what the test itself needs. */
const kept =
  /: (bind|server|monitor-uri|log |timeout|acl|http-request set-var\(txn\.(asked|upgrade)\))/

function withoutHarmless(text: string): string {
  const gone = new Set(
    linesWithSections(text)
      .filter(({ line }) => {
        const loss = harmless.find(([pattern]) => pattern.test(line))?.[1]
        const isInside = !/^defaults|: backend /.test(line) && !kept.test(line)
        return isInside && loss !== undefined && loss !== 'no start' && loss !== 'refuses'
      })
      .filter(({ line }) => !/: (mode http|stick-table|http-request track-sc0)/.test(line))
      .map(({ index }) => index),
  )
  return text
    .split('\n')
    .filter((_, index) => !gone.has(index))
    .join('\n')
}

describe('the shipped configuration without the lines that nobody misses', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack({ editConfig: withoutHarmless, acceptUpgrade: /.*/ })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  for (const head of [
    'GET / HTTP/1.1\r\nHost: a',
    'CONNECT app:443 HTTP/1.1\r\nHost: app:443\r\nAuthorization: Bearer t',
    'GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer bad',
    'GET / HTTP/1.1\r\nHost: a\r\nX-Auth-Request-User: admin',
    'GET / HTTP/1.1\r\nHost: a\r\nX-Entra-Auth-Verdict: allow',
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__',
    'POST /oauth2/start HTTP/1.1\r\nHost: a\r\nContent-Length: 0',
    'GET /.well-known/oauth-protected-resource/other HTTP/1.1\r\nHost: a',
  ]) {
    it(`lets nobody through: ${JSON.stringify(head)}`, async () => {
      stack.verifier.script = () => deny(401, 'signature_invalid')
      await askRaw(stack.haproxy.port, `${head}\r\n\r\n`)
      assert.deepEqual(stack.app.requests, [])
    })
  }

  for (const forged of [
    'X_Auth_Request_User: admin',
    'X.Auth.Request.User: admin',
    'X-AUTH-REQUEST-USER: admin',
    'Connection: X-Auth-Request-User',
    'Proxy-Connection: X-Auth-Request-User',
    'Keep-Alive: X-Auth-Request-User',
  ]) {
    it(`says who it is, and nobody else: ${forged}`, async () => {
      await askRaw(
        stack.haproxy.port,
        `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\n${forged}\r\n\r\n`,
      )
      const [seen] = stack.app.requests
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      assert.doesNotMatch(JSON.stringify(seen.headers), /admin|"connection","x-auth/i)
    })
  }
})
