/**
 * `npm run pictures`: makes the pictures of the documentation in `docs/pictures/` again: the pages
 * of sign-in and dev-entra, some light and some dark, and the demo in a terminal.
 */
import { mkdirSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { createRevocationList } from '../src/revocation/revocation-list.ts'
import { createRevocationStore } from '../src/revocation/revocation-store.ts'
import { arrive, home, signIn, startBrowserStack } from '../test/browser/stack.ts'
import { ids } from '../test/support/ids.ts'
import { startService, verify } from '../test/support/service.ts'
import { createManualTime } from '../test/support/time.ts'
import { v2User } from '../test/support/tokens.ts'
import { takeDemoPicture } from './demo-picture.ts'

const folder = resolve(import.meta.dirname, '../docs/pictures')

async function take(
  page: Page,
  name: string,
  colorScheme: 'light' | 'dark',
  fullPage = false,
): Promise<void> {
  await page.emulateMedia({ colorScheme })
  await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`), fullPage })
  process.stdout.write(`${name}
`)
}

/** The operator's page of a service that has refused a few requests. */
async function takeOperatorsPage(browser: BrowserContext): Promise<void> {
  const revocations = createRevocationStore(undefined, Date.now)
  const nowSeconds = createManualTime().nowMs / 1000
  const list = createRevocationList([
    {
      kind: 'user',
      id: `${ids.contoso}/${ids.user}`,
      before: nowSeconds - 300,
      until: nowSeconds + 90_000,
      reason: 'left the company',
    },
  ])
  const service = await startService({
    revocations: { ...revocations, list },
    policy: {
      allow: [
        { actor: 'user', scopes: ['Orders.Read'], guests: false },
        { actor: 'app', roles: ['Orders.Process'] },
      ],
    },
  })
  try {
    const ask = (token: string | undefined, id: string, uri: string) =>
      verify(service, 'default', {
        ...(token !== undefined && { Authorization: `Bearer ${token}` }),
        'X-Request-Id': id,
        'X-Forwarded-Host': 'api.contoso.com',
        'X-Forwarded-Uri': uri,
      })
    const guest = { oid: ids.app, acct: 1 }
    await ask(undefined, '7F000001:8A4A', '/orders')
    await ask(v2User({ ...guest, scp: 'Orders.Write' }), '7F000001:8A4B', '/orders/17')
    await ask(v2User({ ...guest }), '7F000001:8A4C', '/orders/18')
    await service.app.admin.listen({ host: '127.0.0.1', port: 0 })
    const { port } = service.app.admin.server.address() as AddressInfo
    const page = await browser.newPage()
    await page.setViewportSize({ width: 1100, height: 700 })
    await page.goto(`http://127.0.0.1:${port}/`)
    await page.locator('#explain').waitFor()
    await take(page, 'operators-page', 'light', true)
    await page.setViewportSize({ width: 360, height: 800 })
    await take(page, 'operators-page-narrow', 'dark')
    await page.setViewportSize({ width: 1100, height: 700 })
    await page.getByLabel('Access token').fill(v2User({ ...guest }))
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.locator('#explanation .check').first().waitFor()
    await page.locator('#explain').scrollIntoViewIfNeeded()
    await take(page, 'operators-page-explain', 'dark')
  } finally {
    await service.close()
  }
}

mkdirSync(folder, { recursive: true })
takeDemoPicture()
const stack = await startBrowserStack()
try {
  const browser = await stack.openBrowser()
  const page = await browser.newPage()
  await page.setViewportSize({ width: 720, height: 480 })
  await page.goto(`${home}/reports`)
  await take(page, 'account-picker', 'light')

  const refused = await signIn(browser, 'dora')
  await refused.setViewportSize({ width: 720, height: 480 })
  await refused.getByRole('alert').waitFor()
  await take(refused, 'entra-error', 'dark')
  await refused.getByRole('link', { name: 'Return to the application' }).click()
  await refused.waitForURL(/\/oauth2\/callback/)
  await take(refused, 'sign-in-refused', 'light')

  await browser.clearCookies()
  const guest = await signIn(browser, 'gina', '/members')
  await guest.setViewportSize({ width: 720, height: 480 })
  await guest.waitForURL(`${home}/members`)
  await take(guest, 'policy-refused', 'light')
  await take(guest, 'policy-refused', 'dark')

  await browser.clearCookies()
  const member = await signIn(browser, 'uwe')
  await arrive(member)
  await page.goto(`${stack.authority}/dev/personas`)
  await page.setContent(`<a href="${home}/oauth2/sign_out">Sign out</a>`)
  await page.getByRole('link').click()
  await page.getByRole('heading').waitFor()
  await take(page, 'sign-out', 'light')

  await stack.tell('/dev/refusal', { subject: 'portal', kind: 'secret-expired' })
  await browser.clearCookies()
  const broken = await signIn(browser, 'alice')
  await broken.setViewportSize({ width: 720, height: 480 })
  await broken.waitForURL(/\/oauth2\/callback/)
  await take(broken, 'secret-expired', 'dark')
  await takeOperatorsPage(browser)
} finally {
  await stack.stop()
}
