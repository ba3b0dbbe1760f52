import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { host } from '../support/sessions.ts'
import {
  askedOf,
  callbackOf,
  grantCode,
  openBrowser,
  type SignInService,
  startSignIn,
} from '../support/sign-in.ts'
import { harmless, spellings } from './return-paths.ts'

describe('the redirect after a sign-in', () => {
  let service: SignInService
  before(async () => {
    service = await startSignIn()
  })
  after(() => service.close())

  it('stays on the host as a browser reads it, whatever stands in rd', async () => {
    const tried = [...harmless, ...spellings.filter((_, i) => i % 7 === 0)]
    for (const rd of tried) {
      const browser = openBrowser(service)
      const asked = askedOf(await browser.visit(`/oauth2/start?rd=${encodeURIComponent(rd)}`))
      const { code } = grantCode(service.authority, asked)
      const page = await browser.visit(callbackOf(asked, { code }))
      assert.equal(page.status, 302)
      const location = new URL(page.location ?? '', `https://${host}/oauth2/callback`)
      assert.equal(location.origin, `https://${host}`, JSON.stringify(rd))
      assert.equal(page.location?.startsWith('//'), false)
    }
  })
})
