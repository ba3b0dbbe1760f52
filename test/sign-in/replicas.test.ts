import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import type { SealingKeys } from '../../src/session/sealing.ts'
import { assertAllowed } from '../support/expect.ts'
import { verify } from '../support/service.ts'
import { host, keysOf, withSession } from '../support/sessions.ts'
import {
  askedOf,
  callbackOf,
  grantCode,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'

/** Keys that a test can rotate under a running service. */
function rotatingKeys(): SealingKeys & { now: SealingKeys } {
  return {
    now: keysOf('first'),
    get sealing() {
      return this.now.sealing
    },
    get(id) {
      return this.now.get(id)
    },
  }
}

const keys = [rotatingKeys(), rotatingKeys()] as const
let first: SignInService
let second: SignInService
before(async () => {
  first = await startSignIn({ sealingKeys: keys[0] })
  second = await startSignIn({ sealingKeys: keys[1], authority: first.authority })
})
after(async () => {
  await second.app.close()
  await first.close()
})

describe('two replicas with the same sealing keys', () => {
  it('share a sign-in that begins at one and ends at the other, which is then alone', async () => {
    const jar = new Map<string, string>()
    const asked = askedOf(await openBrowser(first, host, jar).visit('/oauth2/start?rd=/page'))
    const { code } = grantCode(first.authority, asked)
    const page = await openBrowser(second, host, jar).visit(callbackOf(asked, { code }))
    assert.equal(page.location, '/page')
    const session = withSession(jar.get(sessionCookie) ?? '')
    assertAllowed(await verify(first, 'default', session))
    assertAllowed(await verify(second, 'default', session))
  })

  it('lose no session and no sign-in while the keys are rotated, at one before the other', async () => {
    const jar = new Map<string, string>()
    await signInWith(first, openBrowser(first, host, jar))
    const old = withSession(jar.get(sessionCookie) ?? '')
    const begun = new Map<string, string>()
    const asked = askedOf(await openBrowser(first, host, begun).visit('/oauth2/start'))
    // Both can open with the new key before either one seals with it.
    const both = keysOf('second', 'first')
    for (const replica of keys) replica.now = both
    assertAllowed(await verify(second, 'default', old))
    keys[0].now = keysOf('first', 'second')
    const fresh = new Map<string, string>()
    await signInWith(first, openBrowser(first, host, fresh))
    const sealedAnew = withSession(fresh.get(sessionCookie) ?? '')
    for (const replica of [first, second]) {
      assertAllowed(await verify(replica, 'default', old))
      assertAllowed(await verify(replica, 'default', sealedAnew))
    }
    keys[1].now = keys[0].now
    const { code } = grantCode(first.authority, asked)
    const page = await openBrowser(second, host, begun).visit(callbackOf(asked, { code }))
    assert.equal(page.location, '/')
    assert.ok(begun.has(sessionCookie))
  })
})
