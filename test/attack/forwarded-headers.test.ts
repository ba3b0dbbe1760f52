/**
 * Class of advisory: authentication bypass by spoofing (CWE-290). Gateways that took the path, the
 * method or the client address from `X-Forwarded-*` or `X-Original-*`, or that let a `User-Agent`
 * of a health checker through, were opened by whoever sent such a header.
 */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { assertAllowed, assertChallenged, assertInvalidToken } from '../support/expect.ts'
import { startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const service = await startService()
after(() => service.close())

const decisive: Readonly<Record<string, string>> = {
  'X-Forwarded-Method': 'OPTIONS',
  'X-Forwarded-Proto': 'https',
  'X-Forwarded-Host': 'localhost',
  'X-Forwarded-Uri': '/livez',
  'X-Forwarded-For': '127.0.0.1',
  'X-Forwarded-Prefix': '/public',
  'X-Forwarded-User': 'root',
  'X-Forwarded-Access-Token': v2User(),
  'X-Forwarded-Port': '9091',
  Forwarded: 'for=127.0.0.1;host=localhost;proto=https',
  'X-Original-URL': '/livez',
  'X-Original-URI': '/readyz',
  'X-Original-Method': 'OPTIONS',
  'X-Rewrite-URL': '/livez',
  'X-HTTP-Method-Override': 'OPTIONS',
  'X-Real-IP': '127.0.0.1',
  'X-Client-IP': '127.0.0.1',
  'True-Client-IP': '127.0.0.1',
  'X-Auth-Request-User': 'root',
  'X-Auth-Request-Redirect': '/livez',
  'Remote-User': 'root',
  'X-MS-Client-Principal': 'e30=',
  Host: 'localhost',
  'User-Agent': 'kube-probe/1.33',
  Origin: 'null',
  Referer: 'http://127.0.0.1/livez',
  Cookie: 'AppServiceAuthSession=x',
  'Accept-Version': '9',
}

describe('a header that a gateway might believe', () => {
  for (const [name, value] of Object.entries(decisive)) {
    it(`lets nobody in without a token: ${name}`, async () =>
      assertChallenged(await verify(service, 'default', { [name]: value })))
    it(`changes nothing for a good token: ${name}`, async () => {
      const token = v2User()
      const plain = await verify(service, 'default', token)
      const decorated = await verify(service, 'default', {
        Authorization: `Bearer ${token}`,
        [name]: value,
      })
      assertAllowed(decorated)
      assert.deepEqual({ ...decorated.headers, date: '' }, { ...plain.headers, date: '' })
    })
  }
  it('changes nothing for a bad token, all of them at once', async () =>
    assertInvalidToken(
      await verify(service, 'default', { ...decisive, Authorization: 'Bearer a.b.c' }),
      'token_malformed',
    ))
  for (const agent of [
    'GoogleHC/1.0',
    'ELB-HealthChecker/2.0',
    'Consul Health Check',
    'HAProxy',
    'Prometheus/3.0',
    'curl/8.0',
  ]) {
    it(`lets nobody in as the User-Agent ${agent}`, async () =>
      assertChallenged(await verify(service, 'default', { 'User-Agent': agent })))
  }
})
