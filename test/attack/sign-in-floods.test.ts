import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { assertAllowed } from '../support/expect.ts'
import { verify } from '../support/service.ts'
import { cookieOf, withSession } from '../support/sessions.ts'
import {
  askedOf,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

describe('a flood', () => {
  it('of starts and callbacks leaves nothing behind in memory', { timeout: 60_000 }, async () => {
    const round = async (count: number) => {
      for (let i = 0; i < count; i += 20) {
        await Promise.all(
          Array.from({ length: 20 }, async () => {
            const browser = openBrowser(service)
            const asked = askedOf(await browser.visit('/oauth2/start'))
            await browser.visit(`/oauth2/callback?error=access_denied&state=${asked.get('state')}`)
            await browser.visit('/oauth2/callback?code=x&state=forged')
          }),
        )
      }
      service.log.length = 0
    }
    await round(200)
    const heap = () => {
      globalThis.gc?.()
      return process.memoryUsage().heapUsed
    }
    const before = heap()
    await round(600)
    // A kilobyte for each start that stayed would be 600 KB and more.
    assert.ok(heap() - before < 20 * 1024 * 1024, `${heap() - before} bytes more`)
  })

  it('of starts makes no request to Entra', async () => {
    const before = service.authority.requests.length
    for (let i = 0; i < 50; i++) await openBrowser(service).visit('/oauth2/start')
    assert.equal(service.authority.requests.length - before, 0)
  })

  it('of front-channel calls changes nothing beyond its limit', async () => {
    const pages = []
    for (let i = 0; i < 130; i++) {
      const sid = `made-up-session-id-${i}`
      pages.push(await openBrowser(service).visit(`/oauth2/frontchannel_logout?sid=${sid}`))
    }
    assert.equal(pages.filter(({ status }) => status === 200).length, 120)
    assert.equal(service.revocations.length, 120)
    assert.equal(pages.at(-1)?.status, 429)
    assert.equal(pages.at(-1)?.headers['retry-after'], '60')
    const linesOfIt = () => service.log.filter((line) => line.includes('beyond the limit')).length
    assert.equal(linesOfIt(), 1)
    service.time.nowMs += 60_000
    const later = await openBrowser(service).visit(
      '/oauth2/frontchannel_logout?sid=0123456789abcdef',
    )
    assert.equal(later.status, 200)
    for (let minute = 0; minute < 10; minute++) {
      service.time.nowMs += 60_000
      for (let i = 0; i < 100; i++) {
        const sid = `made-up-in-minute-${minute}-${i}`
        await openBrowser(service).visit(`/oauth2/frontchannel_logout?sid=${sid}`)
      }
    }
    // However long it lasts, most of the list stays free for administrators.
    assert.equal(service.revocations.length, 1_000)
    assert.ok(linesOfIt() <= 12, `${linesOfIt()} lines`)
  })

  it('of front-channel calls costs no real sign-out elsewhere', async () => {
    const own = await startSignIn()
    try {
      const flood = async (calls: number) => {
        for (let i = 0; i < calls; i++) {
          const sid = `made-up-${own.time.nowMs}-${i}`
          await openBrowser(own).visit(`/oauth2/frontchannel_logout?sid=${sid}`)
        }
      }
      const endedElsewhere = async (sid: string) => {
        const reply = await openBrowser(own).visit(`/oauth2/frontchannel_logout?sid=${sid}`)
        return { status: reply.status, isRevoked: own.revocations.some(({ id }) => id === sid) }
      }
      await signInWith(own, openBrowser(own), { claims: { sid: 'sid-of-a-sign-in-here' } })
      // One that another replica made, or this one before it was restarted: known once it was verified.
      const elsewhere = cookieOf({ id: 'another', entraSessionId: 'sid-of-another-replica' })
      assertAllowed(await verify(own, 'default', withSession(elsewhere)))
      await flood(130)
      const ended = { status: 200, isRevoked: true }
      assert.deepEqual(await endedElsewhere('sid-of-a-sign-in-here'), ended)
      // Nor when made-up ones have used up the room that the front channel has at a time.
      for (let minute = 0; minute < 8; minute++) {
        own.time.nowMs += 60_000
        await flood(120)
      }
      assert.deepEqual(await endedElsewhere('sid-of-another-replica'), ended)
      assert.equal((await endedElsewhere('sid-that-nobody-has-here')).status, 429)
    } finally {
      await own.close()
    }
  })

  it('of long headers, cookies and bodies is refused at once', async () => {
    const browser = openBrowser(service)
    const long = 'a'.repeat(40_000)
    assert.equal(
      (await browser.visit('/oauth2/start', { headers: { 'X-Long': long } })).status,
      400,
    )
    assert.equal((await browser.visit(`/oauth2/start?rd=/${long}`)).status, 400)
    const cookies = Array.from({ length: 500 }, (_, i) => `c${i}=v`).join('; ')
    assert.equal(
      (await browser.visit('/oauth2/userinfo', { headers: { Cookie: cookies } })).status,
      401,
    )
    const body = await browser.visit('/oauth2/sign_out', {
      method: 'POST',
      body: 'a'.repeat(2_000),
    })
    assert.equal(body.status, 400)
  })
})
