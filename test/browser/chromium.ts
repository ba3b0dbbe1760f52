/** A real Chromium, driven from the tests: the distribution's, with a new and empty profile. */
import assert from 'node:assert/strict'
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import type { Life } from '../serve/process.ts'

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/** How long a page may take before the test fails, on a machine that has much to do. */
const patienceMs = 30_000

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export interface ChromiumOptions {
  /** Default: light. */
  readonly colorScheme?: 'light' | 'dark'
  /** Names that are found at an address, such as `portal.contoso.test` at `127.0.0.1`. */
  readonly hosts?: Readonly<Record<string, string>>
  /** As a person sets it who wants no cookie at all. */
  readonly blocksCookies?: boolean
}

/** Starts a Chromium with an empty profile of its own; it ends with the test. */
export async function startChromium(
  t: Life,
  { colorScheme = 'light', hosts = {}, blocksCookies = false }: ChromiumOptions = {},
): Promise<BrowserContext> {
  const profile = mkdtempSync(join(tmpdir(), 'entra-auth-chromium-'))
  if (blocksCookies) {
    const preferences = { profile: { default_content_setting_values: { cookies: 2 } } }
    mkdirSync(join(profile, 'Default'))
    writeFileSync(join(profile, 'Default', 'Preferences'), JSON.stringify(preferences))
  }
  const rules = Object.entries(hosts).map(([name, address]) => `MAP ${name} ${address}`)
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: findChromium(),
    headless: true,
    args: [...flags, ...(rules.length === 0 ? [] : [`--host-resolver-rules=${rules.join(', ')}`])],
    colorScheme,
    // The certificates of the tests vouch for themselves.
    ignoreHTTPSErrors: true,
  })
  browser.setDefaultTimeout(patienceMs)
  t.after(async () => {
    await browser.close()
    rmSync(profile, { recursive: true, force: true })
  })
  return browser
}

function findChromium(): string {
  const candidates = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'chromium'))
  const found = candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
  if (found) return found
  throw new Error('Chromium is missing: run npm run test:browser, or apt-get install chromium')
}

/** Fails with what axe finds on a page, one line a finding. */
export async function assertAccessible(page: Page): Promise<void> {
  // The pages forbid scripts; what the browser's own tools evaluate is let through.
  await page.evaluate(axe)
  const findings: string[] = await page.evaluate(async () => {
    const { violations } = await (globalThis as unknown as AxeWindow).axe.run()
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
  })
  assert.deepEqual(findings, [], page.url())
}

interface AxeWindow {
  readonly axe: {
    run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }>
  }
}
