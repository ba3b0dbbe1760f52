import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { verify } from '../support/service.ts'
import { withSession } from '../support/sessions.ts'
import {
  askedOf,
  callbackOf,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn({ section: { page: { text: 'Call <b>12</b> & "ask"' } } })
})
after(() => service.close())

const payloads = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "'><svg onload=alert(1)>",
  '</title><script>alert(1)</script>',
  '&lt;script&gt;alert(1)&lt;/script&gt;',
  'javascript:alert(1)',
  'AADSTS1234567890<script>',
  'AADSTS50105 <a href="https://evil.example">click</a>',
  'Correlation ID: <script>',
  'x\r\nSet-Cookie: a=b',
  'x\u2028y\u0000z',
  'Your account is locked, call +1 555 0100',
]

describe('markup and line breaks', () => {
  it('in an answer of Entra never reach a page', async () => {
    for (const payload of payloads) {
      const browser = openBrowser(service)
      const asked = askedOf(await browser.visit('/oauth2/start'))
      const page = await browser.visit(
        callbackOf(asked, { error: payload, error_description: payload, error_uri: payload }),
      )
      assert.equal(page.reason, 'sign_in_failed')
      assertClean(page.body, payload)
      assert.equal(page.headers['set-cookie'], undefined)
    }
  })

  it('in an answer that nobody asked for never reach a page', async () => {
    for (const payload of payloads) {
      const query = new URLSearchParams({
        state: payload,
        error: payload,
        error_description: payload,
      })
      const page = await openBrowser(service).visit(`/oauth2/callback?${query}`)
      assert.equal(page.reason, 'state_invalid')
      assertClean(page.body, payload)
    }
  })

  it('in the name of a person are text', async () => {
    for (const name of [
      '<script>alert(1)</script>',
      '"><img src=x>',
      'مها',
      'Jürgen Müßig',
      'a\u2028b',
    ]) {
      const browser = openBrowser(service)
      await signInWith(service, browser, { claims: { name } })
      const page = await browser.visit('/oauth2/sign_out', {
        headers: { 'Sec-Fetch-Site': 'cross-site' },
      })
      assert.match(page.body, /You are signed in as /)
      assert.doesNotMatch(page.body, /<script|<img src=x/)
      if (/^\p{L}[\p{L} ]+$/u.test(name)) assert.ok(page.body.includes(name))
    }
  })

  it('in the name of a person do not turn the sentence around it', async () => {
    const browser = openBrowser(service)
    const name = '\u202Etxet neddih\u2067\u2066\u2069\u202B مها'
    await signInWith(service, browser, { claims: { name } })
    const page = await browser.visit('/oauth2/sign_out', {
      headers: { 'Sec-Fetch-Site': 'cross-site' },
    })
    assert.match(page.body, /You are signed in as txet neddih مها\. Do you/)
    const { body } = await verify(service, 'grouped', {
      ...withSession(browser.cookies.get(sessionCookie) ?? ''),
      'X-Entra-Auth-Page': '1',
    })
    assert.match(body, /You are signed in as txet neddih مها\./)
  })

  it('in paths, parameters and the text of the operator are text', async () => {
    const browser = openBrowser(service)
    for (const path of [
      '/oauth2/<script>',
      '/oauth2/start?rd=/%22%3E%3Cscript%3E&acrs=%3Cscript%3E',
    ]) {
      const page = await browser.visit(path)
      assert.doesNotMatch(page.body, /<script/)
    }
    const asked = askedOf(await browser.visit('/oauth2/start?rd=/%22%3E%3Cscript%3Ealert(1)'))
    const page = await browser.visit(callbackOf(asked, { error: 'access_denied' }))
    assert.match(page.body, /href="\/oauth2\/start\?rd=[\w%()]+"/)
    assert.match(page.body, /<footer>Call &lt;b&gt;12&lt;\/b&gt; &amp; &quot;ask&quot;<\/footer>/)
  })

  it('in Location stay inside it', async () => {
    const browser = openBrowser(service)
    const page = await signInWith(service, browser, {
      path: '/oauth2/start?rd=/a%0d%0aSet-Cookie:%20x=y',
    })
    assert.equal(page.location, '/')
    assert.equal(page.setCookies.length, 1)
  })
})

function assertClean(body: string, payload: string): void {
  assert.doesNotMatch(
    body,
    /<script|<img|<svg|onerror|onload|javascript:|evil\.example|555 0100/i,
    payload,
  )
  assert.doesNotMatch(body, /AADSTS1234567890/)
}
