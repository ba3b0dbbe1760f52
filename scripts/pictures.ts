/**
 * `npm run pictures`: makes the pictures of the documentation anew, in `docs/pictures/`: the pages of
 * sign-in and of dev-entra, some in light and some in dark, and the demo in a terminal.
 */
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Page } from 'playwright-core'
import { home, signIn, startBrowserStack } from '../test/browser/stack.ts'
import { takeDemoPicture } from './demo-picture.ts'

const folder = resolve(import.meta.dirname, '../docs/pictures')

async function take(page: Page, name: string, colorScheme: 'light' | 'dark'): Promise<void> {
  await page.emulateMedia({ colorScheme })
  await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`) })
  process.stdout.write(`${name}
`)
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
} finally {
  await stack.stop()
}
