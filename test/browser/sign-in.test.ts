import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { BrowserContext, Page } from 'playwright-core'
import { eventually } from '../support/eventually.ts'
import { assertAccessible } from './chromium.ts'
import { arrive, choose, home, otherHost, type Stack, signIn, startBrowserStack } from './stack.ts'

const aliceId = 'a1111111-1111-4111-8111-111111111111'
const sessionCookie = '__Host-entra-session'

describe('sign-in with a browser', () => {
  let stack: Stack
  let browser: BrowserContext
  before(async () => {
    stack = await startBrowserStack()
    browser = await stack.openBrowser()
  })
  after(() => stack?.stop())
  beforeEach(async () => {
    for (const page of browser.pages()) await page.close()
    await browser.clearCookies()
    await stack.tell('/dev/reset', {})
  })

  const userOf = (page: Page) => page.locator('#user').textContent()
  const pathOf = (page: Page) => page.locator('#path').textContent()
  const cookieOf = async () =>
    (await browser.cookies(home)).find(({ name }) => name === sessionCookie)

  it('a deep link with a query comes back to it after sign-in, and no second redirect follows', async () => {
    const page = await signIn(browser, 'alice', '/reports?month=7&name=%C3%BC')
    assert.equal(await pathOf(page), '/reports?month=7&name=%C3%BC')
    assert.equal(await userOf(page), aliceId)
    const response = await page.goto(`${home}/next`)
    assert.equal(response?.request().redirectedFrom(), null)
  })

  it('twenty tabs at once all arrive, each at its own page', async () => {
    const tabs = await Promise.all(Array.from({ length: 20 }, () => browser.newPage()))
    // Each begins a sign-in before any of them has ended.
    await Promise.all(tabs.map((tab, at) => tab.goto(`${home}/tab/${at}`)))
    await Promise.all(tabs.map((tab) => choose(tab, 'alice')))
    const paths = await Promise.all(tabs.map(pathOf))
    assert.deepEqual(
      paths,
      tabs.map((_, at) => `/tab/${at}`),
    )
  })

  it('the back button and a reload of the callback lead to the page', async () => {
    let callback = ''
    const page = await browser.newPage()
    page.on('request', (request) => {
      if (request.url().includes('/oauth2/callback?')) callback = request.url()
    })
    await page.goto(`${home}/deep?q=1`)
    await choose(page, 'alice')
    assert.equal(await pathOf(page), '/deep?q=1')
    await page.goto(callback)
    assert.equal(await pathOf(page), '/deep?q=1')
    await page.getByRole('link', { name: 'Next' }).click()
    await page.waitForURL(`${home}/next`)
    await page.goBack()
    await page.waitForURL(`${home}/deep?q=1`)
    assert.equal(await userOf(page), aliceId)
  })

  it('a fetch without a session gets 401 with JSON and no redirect', async () => {
    const page = await signIn(browser, 'alice')
    await arrive(page)
    await browser.clearCookies()
    const reply = await page.evaluate(async () => {
      const response = await fetch('/api/orders')
      return {
        status: response.status,
        redirected: response.redirected,
        body: (await response.json()) as { reason?: string },
      }
    })
    assert.deepEqual([reply.status, reply.redirected], [401, false])
    assert.equal(reply.body.reason, 'no_session')
  })

  it('step-up to c1 asks for a second factor and comes back to where the person was', async () => {
    const page = await signIn(browser, 'alice')
    await arrive(page)
    await page.goto(`${home}/strong/room?door=2`)
    assert.equal(await page.getByRole('heading').textContent(), 'Approve sign in request')
    await page.getByRole('button', { name: 'Approve' }).click()
    await page.waitForURL(`${home}/strong/room?door=2`)
    assert.equal(await userOf(page), aliceId)
  })

  it('guests and people without the group are refused, and others are not', async () => {
    const guest = await signIn(browser, 'gina', '/members')
    await guest.waitForURL(`${home}/members`)
    assert.match((await guest.textContent('body')) ?? '', /guest/)
    await browser.clearCookies()
    const stranger = await signIn(browser, 'bob', '/staff')
    await stranger.waitForURL(`${home}/staff`)
    assert.match((await stranger.textContent('body')) ?? '', /group/)
    await browser.clearCookies()
    const staff = await signIn(browser, 'alice', '/staff')
    assert.equal(await userOf(staff), aliceId)
  })

  it('names with umlauts and from right to left reach the application', async () => {
    const umlaut = await signIn(browser, 'uwe')
    assert.equal(await umlaut.locator('#name').textContent(), 'Uwe Müller-Weiß')
    await browser.clearCookies()
    const arabic = await signIn(browser, 'layla')
    assert.equal(await arabic.locator('#name').textContent(), 'ليلى حداد')
  })

  it('sign-out ends the session here and at Entra, and the copied cookie is refused', async () => {
    const page = await signIn(browser, 'alice')
    await arrive(page)
    const copied = await cookieOf()
    assert.ok(copied)
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(`${home}/oauth2/signed_out`)
    assert.equal(await cookieOf(), undefined)
    await page.goto(home)
    // Entra asks again who it is.
    assert.ok(await page.locator('button[name="account"]').first().isVisible())
    await browser.addCookies([copied])
    await page.goto(`${home}/again`)
    assert.ok(page.url().startsWith(stack.authority), page.url())
  })

  it('signing out of another application ends the session by the front channel', async () => {
    await stack.tell('/dev/registration', {
      client: 'portal',
      logoutUrl: `${home}/oauth2/frontchannel_logout`,
    })
    const page = await signIn(browser, 'alice')
    await arrive(page)
    await page.goto(`${stack.authority}/contoso/oauth2/v2.0/logout`)
    await eventually(
      async () => {
        await page.goto(`${home}/after`)
        return page.url()
      },
      (url) => url.startsWith(stack.authority),
    )
  })

  for (const [persona, button, number] of [
    ['dora', 'Return to the application', 'AADSTS50105'],
    ['kurt', 'Return to the application', 'AADSTS90094'],
    ['erik', 'Return to the application', 'AADSTS53003'],
    ['cora', 'Cancel', 'AADSTS65004'],
  ] as const) {
    it(`${number} ends in its page, with number and correlation id`, async () => {
      const page = await signIn(browser, persona)
      await page.locator('.button', { hasText: button }).click()
      await page.waitForURL(/\/oauth2\/callback/)
      const text = (await page.textContent('main')) ?? ''
      assert.match(text, new RegExp(number))
      assert.match(text, /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/)
      await assertAccessible(page)
      assert.equal(await cookieOf(), undefined)
    })
  }

  it('multi-factor is asked of mona, to enrol of nina, and both get in', async () => {
    for (const [persona, button] of [
      ['mona', 'Approve'],
      ['nina', 'Next'],
    ] as const) {
      await browser.clearCookies()
      const page = await signIn(browser, persona, '/in')
      await page.getByRole('button', { name: button }).click()
      await page.waitForURL(`${home}/in`)
    }
  })

  it('an expired secret: good sessions go on, nobody new gets in, and an alarm is raised', async () => {
    const page = await signIn(browser, 'alice')
    await arrive(page)
    await stack.tell('/dev/refusal', { subject: 'portal', kind: 'secret-expired' })
    await page.goto(`${home}/still`)
    assert.equal(await userOf(page), aliceId)
    await browser.clearCookies()
    const from = stack.service.log.length
    const stranger = await signIn(browser, 'bob')
    await stranger.waitForURL(/\/oauth2\/callback/)
    assert.match((await stranger.textContent('main')) ?? '', /invalid_client/)
    await assertAccessible(stranger)
    await stack.service.waitForLog(({ level }) => Number(level) >= 50, from)
  })

  it('blocked cookies end in a page, not in a loop', async () => {
    const strict = await stack.openBrowser({ blocksCookies: true })
    const page = await signIn(strict, 'alice')
    await page.waitForURL(/\/oauth2\//)
    assert.match((await page.textContent('main')) ?? '', /cookies_blocked/)
    await assertAccessible(page)
  })

  it('a session counts for its own host only', async () => {
    const first = await signIn(browser, 'alice')
    await arrive(first)
    const copied = await cookieOf()
    assert.ok(copied)
    const page = await browser.newPage()
    await page.context().addCookies([
      {
        name: sessionCookie,
        value: copied.value,
        url: `https://${otherHost}`,
        secure: true,
      },
    ])
    await stack.tell('/dev/refusal', { subject: 'alice', kind: 'disabled' })
    await page.goto(`https://${otherHost}/`)
    assert.ok(page.url().startsWith(stack.authority), page.url())
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`the pages run no script, keep a strict policy and axe finds nothing, ${colorScheme}`, async () => {
      const page = await browser.newPage()
      await page.emulateMedia({ colorScheme })
      for (const path of [
        '/oauth2/signed_out',
        '/oauth2/callback',
        '/oauth2/callback?error=access_denied&state=x',
        '/oauth2/nothing',
      ]) {
        const response = await page.goto(`${home}${path}`)
        const policy = response?.headers()['content-security-policy'] ?? ''
        assert.match(policy, /default-src 'none'/)
        assert.doesNotMatch(policy, /script-src|unsafe/)
        assert.equal(await page.locator('script').count(), 0)
        await assertAccessible(page)
      }
      // Where a link of another site leads: it asks before it signs anybody out.
      const signedIn = await signIn(browser, 'alice')
      await arrive(signedIn)
      await page.goto(`${stack.authority}/dev/personas`)
      await page.setContent(`<a href="${home}/oauth2/sign_out">out</a>`)
      await page.getByRole('link').click()
      assert.equal(await page.getByRole('heading').textContent(), 'Sign out?')
      await assertAccessible(page)
    })
  }

  // The last one, since Entra does not come back.
  it('Entra is down: good sessions go on', async () => {
    const page = await signIn(browser, 'alice')
    await arrive(page)
    await stack.entra.close()
    for (const path of ['/down/1', '/members', '/staff']) {
      await page.goto(`${home}${path}`)
      assert.equal(await pathOf(page), path)
      assert.equal(await userOf(page), aliceId)
    }
  })
})

describe('the soft end of a session', () => {
  let stack: Stack
  let browser: BrowserContext
  before(async () => {
    stack = await startBrowserStack({ recheckMinutes: 0.1 })
    browser = await stack.openBrowser()
  })
  after(() => stack?.stop())
  beforeEach(async () => {
    for (const page of browser.pages()) await page.close()
    await browser.clearCookies()
    await stack.tell('/dev/reset', {})
  })

  const askedEntra = async () =>
    (await stack.entra.inject('/dev/requests')).json().counts.authorize as number

  it('after the soft end the next navigation goes by Entra without anything to click', async () => {
    const page = await signIn(browser, 'alice')
    await arrive(page)
    const before = await askedEntra()
    await eventually(
      async () => {
        await page.goto(`${home}/later?q=1`)
        assert.equal(page.url(), `${home}/later?q=1`)
        return askedEntra()
      },
      (asked) => asked > before,
    )
  })

  it('an open page goes on after the soft end without noticing', async () => {
    const page = await signIn(browser, 'alice')
    await arrive(page)
    const statuses = await page.evaluate(async () => {
      const seen: number[] = []
      for (let after = 0; after < 3; ) {
        const response = await fetch('/api', { redirect: 'error' })
        seen.push(response.status)
        if (response.headers.get('x-recheck') === '1') after += 1
        else await new Promise((next) => setTimeout(next, 200))
      }
      return seen
    })
    assert.deepEqual([...new Set(statuses)], [200])
  })

  it('a disabled person is out at the next re-check', async () => {
    const page = await signIn(browser, 'alice')
    await arrive(page)
    await stack.tell('/dev/refusal', { subject: 'alice', kind: 'disabled' })
    await eventually(
      async () => {
        await page.goto(`${home}/next`)
        return page.url()
      },
      (url) => url.startsWith(stack.authority),
    )
    await page.goto(`${home}/again`)
    assert.ok(page.url().startsWith(stack.authority), page.url())
  })
})
