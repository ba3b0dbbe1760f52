import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { ids } from '../support/ids.ts'
import { cookieOf, host } from '../support/sessions.ts'
import { openBrowser, startSignIn } from '../support/sign-in.ts'

describe('a sign-in', () => {
  it('goes to the tenant of the section signIn, whichever is configured first', async (t) => {
    const service = await startSignIn({ section: { tenant: 'fabrikam' } })
    t.after(() => service.close())
    const page = await openBrowser(service).visit('/oauth2/start')
    const { pathname } = new URL(page.location ?? '')
    assert.equal(pathname, `/${ids.fabrikam}/oauth2/v2.0/authorize`)
  })
})

describe('a sign-out', () => {
  it('ends the session everywhere where the store is the place for revocations', async (t) => {
    const service = await startSignIn({
      withoutRevocations: true,
      config: { store: { url: 'redis://127.0.0.1:1' } },
    })
    t.after(() => service.close())
    const cookies = new Map([[sessionCookie, cookieOf({ id: 'a-session' })]])
    const page = await openBrowser(service, host, cookies).visit('/oauth2/sign_out', {
      method: 'POST',
    })
    assert.equal(page.status, 303)
    assert.deepEqual(
      service.revocations.map(({ kind, id }) => [kind, id]),
      [['session', 'a-session']],
    )
  })
})
