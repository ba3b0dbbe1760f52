import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { openSession } from '../../src/session/session.ts'
import { assertAllowed } from '../support/expect.ts'
import { verify } from '../support/service.ts'
import { sealingKeys, withSession } from '../support/sessions.ts'
import { openBrowser, type SignInService, signInWith, startSignIn } from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

describe('a session that somebody planted', () => {
  it('is not the one that the person gets by signing in', async () => {
    const attacker = openBrowser(service)
    await signInWith(service, attacker, { claims: { sub: 'attacker' } })
    const planted = attacker.cookies.get(sessionCookie) ?? ''
    const victim = openBrowser(service)
    victim.cookies.set(sessionCookie, planted)
    service.time.nowMs += 5_000
    await signInWith(service, victim, { path: '/oauth2/start?acrs=c1', claims: { acrs: ['c1'] } })
    const own = victim.cookies.get(sessionCookie) ?? ''
    assert.notEqual(own, planted)
    assert.notEqual(openSession(sealingKeys, own)?.id, openSession(sealingKeys, planted)?.id)
    assertAllowed(await verify(service, 'strong', withSession(own)))
    // What the attacker holds is still their own, and no stronger.
    assert.equal((await verify(service, 'strong', withSession(planted))).reason, 'step_up_required')
  })

  it('before a step-up ends with it, so that a sign-out leaves no copy behind', async () => {
    const person = openBrowser(service)
    await signInWith(service, person)
    const copy = person.cookies.get(sessionCookie) ?? ''
    assertAllowed(await verify(service, 'default', withSession(copy)))
    service.time.nowMs += 5_000
    await signInWith(service, person, { path: '/oauth2/start?acrs=c1', claims: { acrs: ['c1'] } })
    assert.equal((await verify(service, 'default', withSession(copy))).reason, 'session_revoked')
    assertAllowed(
      await verify(service, 'strong', withSession(person.cookies.get(sessionCookie) ?? '')),
    )
  })

  it('beside the own one makes neither count', async () => {
    const victim = openBrowser(service)
    await signInWith(service, victim)
    const attacker = openBrowser(service)
    await signInWith(service, attacker, { claims: { sub: 'attacker' } })
    const both = [victim, attacker].map(
      ({ cookies }) => `${sessionCookie}=${cookies.get(sessionCookie)}`,
    )
    for (const cookie of [both.join('; '), both.toReversed().join('; ')]) {
      const page = await openBrowser(service).visit('/oauth2/userinfo', {
        headers: { Cookie: cookie },
      })
      assert.equal(page.status, 401)
    }
  })
})
