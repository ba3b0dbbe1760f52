import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { openBrowser, type SignInService, startSignIn } from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

describe('a page of the sign-in', () => {
  it('is shown in no frame and loads nothing', async () => {
    const browser = openBrowser(service)
    for (const path of [
      '/oauth2/signed_out',
      '/oauth2/sign_out',
      '/oauth2/callback',
      '/oauth2/start',
      '/x',
      '/%',
      '/oauth2/%ff',
      '/oauth2/callback/%zz',
    ]) {
      const page = await browser.visit(path)
      const policy = page.headers['content-security-policy'] ?? ''
      assert.equal(page.headers['x-frame-options'], 'DENY')
      assert.match(policy, /(^|; )frame-ancestors 'none'(;|$)/)
      assert.match(policy, /^default-src 'none'; /)
      assert.match(policy, /(^|; )base-uri 'none'(;|$)/)
      assert.doesNotMatch(policy, /unsafe|script-src|\*/)
      assert.equal(page.headers['x-content-type-options'], 'nosniff')
      const hasForm = path === '/oauth2/sign_out'
      assert.equal(page.headers['referrer-policy'], hasForm ? 'same-origin' : 'no-referrer')
      assert.doesNotMatch(page.body, /<script|<iframe|<link|\son\w+=|url\(/i)
    }
  })

  it('has exactly the style that its policy allows', async () => {
    const page = await openBrowser(service).visit('/oauth2/signed_out')
    const [, style = ''] = /<style>(.*?)<\/style>/s.exec(page.body) ?? []
    const hash = createHash('sha256').update(style).digest('base64')
    assert.ok(page.headers['content-security-policy']?.includes(`style-src 'sha256-${hash}'`))
    assert.doesNotMatch(page.body, /style=/)
  })

  it('of the front channel is framed by Entra alone', async () => {
    const page = await openBrowser(service).visit(
      '/oauth2/frontchannel_logout?sid=0123456789abcdef',
    )
    assert.equal(
      page.headers['content-security-policy'],
      `default-src 'none'; frame-ancestors ${service.authority.url}`,
    )
    assert.equal(page.headers['x-frame-options'], undefined)
    assert.equal(page.body, '')
  })
})
