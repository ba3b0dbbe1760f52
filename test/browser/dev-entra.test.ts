import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { BrowserContext, Page } from 'playwright-core'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { contoso } from '../clients/authority.ts'
import { authorizeQuery } from '../dev-entra/browser.ts'
import { assertAccessible, startChromium } from './chromium.ts'

for (const colorScheme of ['light', 'dark'] as const) {
  describe(`the pages of dev-entra, ${colorScheme}`, () => {
    const cleanUps: (() => unknown)[] = []
    let browser: BrowserContext
    let origin: string
    let callback: string
    const entra = buildDevEntra({ now: Date.now })
    before(async () => {
      origin = await entra.listen({ host: '127.0.0.1', port: 0 })
      const app = await startEchoApp()
      callback = `http://${app.address}/callback`
      const t = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
      t.after(() => entra.close())
      t.after(() => app.stop())
      browser = await startChromium(t, { colorScheme })
    })
    after(async () => {
      for (const cleanUp of cleanUps.reverse()) await cleanUp()
    })

    /** Opens the sign-in in a browser without a session. */
    async function open(changes: Record<string, string> = {}): Promise<Page> {
      await browser.clearCookies()
      const page = await browser.newPage()
      const query = new URLSearchParams(authorizeQuery({ redirect_uri: callback, ...changes }))
      await page.goto(`${origin}/${contoso}/oauth2/v2.0/authorize?${query}`)
      return page
    }

    const click = (page: Page, name: string | RegExp) => page.getByRole('button', { name }).click()

    it('a person is clicked and arrives at the application', async () => {
      const page = await open()
      await assertAccessible(page)
      await click(page, /Alice Anders/)
      await page.waitForURL(/\/callback\?/)
      const { searchParams } = new URL(page.url())
      assert.equal(searchParams.get('state'), 's')
      assert.ok(searchParams.get('code'))
    })

    it('the whole way works by keyboard alone', async () => {
      const page = await open()
      await page.keyboard.press('Tab')
      await page.keyboard.press('Tab')
      await page.keyboard.press('Enter')
      await page.waitForURL(/\/callback\?/)
      assert.ok(new URL(page.url()).searchParams.get('code'))
    })

    it('names with umlauts and from right to left are shown as they are', async () => {
      const page = await open()
      assert.ok(await page.getByText('Uwe Müller-Weiß').isVisible())
      assert.ok(await page.getByText('ليلى حداد').isVisible())
      assert.deepEqual(await page.locator('span:dir(rtl)').allTextContents(), ['ليلى حداد'])
    })

    it('the question for a password, for a second factor and to enrol one', async () => {
      const page = await open({ login_hint: 'mona' })
      await assertAccessible(page)
      await click(page, 'Sign in')
      assert.equal(await page.getByRole('heading').textContent(), 'Approve sign in request')
      await assertAccessible(page)
      await click(page, 'Approve')
      await page.waitForURL(/\/callback\?/)
      const other = await open({ login_hint: 'nina' })
      await click(other, 'Sign in')
      await assertAccessible(other)
      await click(other, 'Next')
      await other.waitForURL(/\/callback\?/)
    })

    it('the question for consent', async () => {
      const page = await open({ login_hint: 'alice', prompt: 'consent' })
      await click(page, 'Sign in')
      await assertAccessible(page)
      await click(page, 'Cancel')
      await page.waitForURL(/error=access_denied/)
      assert.match(new URL(page.url()).searchParams.get('error_description') ?? '', /^AADSTS65004/)
    })

    it('an error shows its number and ids, and leads back to the application', async () => {
      const page = await open()
      await click(page, /Dora Dorn/)
      assert.match((await page.getByRole('alert').textContent()) ?? '', /^AADSTS50105: /)
      assert.ok(await page.getByText('Correlation Id').isVisible())
      await assertAccessible(page)
      await page.getByRole('link', { name: 'Return to the application' }).click()
      await page.waitForURL(/error=access_denied/)
    })

    it('an unknown redirect URI ends at dev-entra', async () => {
      const page = await open({ redirect_uri: 'https://evil.example.com/' })
      assert.match((await page.getByRole('alert').textContent()) ?? '', /^AADSTS50011: /)
      await assertAccessible(page)
    })

    it('signing out calls the application in a frame', async () => {
      const { port } = new URL(callback)
      await entra.inject({
        method: 'POST',
        url: '/dev/registration',
        payload: { client: 'portal', logoutUrl: `http://127.0.0.1:${port}/logout` },
      })
      const page = await open()
      await click(page, /Alice Anders/)
      await page.waitForURL(/\/callback\?/)
      const called = page.waitForRequest(/\/logout\?.*sid=/)
      await page.goto(`${origin}/${contoso}/oauth2/v2.0/logout`)
      const { searchParams } = new URL((await called).url())
      assert.match(searchParams.get('sid') ?? '', /^[0-9a-f-]{36}$/)
      await assertAccessible(page)
    })
  })
}
