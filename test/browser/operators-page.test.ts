import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import type { BrowserContext, Page } from 'playwright-core'
import type { StoredRevocation } from '../../src/revocation/revocation.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { ids } from '../support/ids.ts'
import { callerKey, type Service, startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'
import { assertAccessible, startChromium } from './chromium.ts'

const hostile = [
  '<script>globalThis.hacked = 1</script>',
  '"><img src=x onerror="globalThis.hacked=1">',
  "'><svg/onload=globalThis.hacked=1>",
  '</textarea></select></table></main><iframe srcdoc="<script>parent.hacked=1</script>">',
  '<a href="javascript:globalThis.hacked=1">x</a><style>*{display:none}</style>',
  '<base href="https://evil.example/"><form id="token-form" action="https://evil.example/">',
  '\u202Egnp.exe\u0000\u2028',
]

/** A store with as many revocations as there may be, hostile reasons among them. */
function fullStore(nowMs: () => number) {
  const now = Math.floor(nowMs() / 1000)
  const entries = Array.from({ length: 10_000 }, (_, i): StoredRevocation => {
    const id = `${ids.contoso}/${String(i).padStart(8, '0')}-0000-4000-8000-000000000000`
    const reason = hostile[i] ?? `left ${i}`
    return { kind: 'user', id, before: now - i, until: now + 90_000, reason }
  })
  return { ...createRevocationStore(undefined, nowMs), list: createRevocationList(entries) }
}

async function openAdmin(service: Service): Promise<string> {
  await service.app.admin.listen({ host: '127.0.0.1', port: 0 })
  return `http://127.0.0.1:${(service.app.admin.server.address() as AddressInfo).port}`
}

/** Fails with what a page loaded from elsewhere, and with scripts that came from data. */
async function assertHarmless(page: Page, origin: string): Promise<void> {
  assert.equal(await page.evaluate('globalThis.hacked'), undefined)
  const elsewhere: string[] = await page.evaluate(`
    performance.getEntriesByType('resource').map(({ name }) => name)`)
  assert.deepEqual(
    elsewhere.filter((name) => !name.startsWith(`${origin}/`) && !name.startsWith('data:')),
    [],
  )
  assert.equal(await page.locator('script').count(), 1)
  assert.equal(await page.locator('iframe, base, style, img, svg').count(), 0)
  assert.equal(await page.locator('a[href^="javascript:"]').count(), 0)
  const kept = await page.evaluate(
    `[document.cookie, localStorage.length, sessionStorage.length].join()`,
  )
  assert.equal(kept, ',0,0')
}

describe("the operator's page", () => {
  const cleanUps: (() => unknown)[] = []
  const t = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  let browser: BrowserContext
  let service: Service
  let origin: string
  before(async () => {
    browser = await startChromium(t)
    const store = { current: createRevocationStore(undefined, Date.now) }
    service = await startService({
      revocations: new Proxy({} as typeof store.current, {
        get: (_target, name) => Reflect.get(store.current, name),
      }),
    })
    store.current = fullStore(() => service.time.nowMs)
    t.after(() => service.close())
    origin = await openAdmin(service)
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  async function open(path = '/'): Promise<Page> {
    const page = await browser.newPage()
    await page.goto(origin + path)
    return page
  }

  async function explain(page: Page, token: string): Promise<string> {
    await page.getByLabel('Access token').fill(token)
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.locator('#explanation .check').first().waitFor()
    return (await page.locator('#explanation').textContent()) ?? ''
  }

  it('shows policies in words, tenants and keys, and the version in force', async () => {
    const page = await open()
    const text = ((await page.locator('main').textContent()) ?? '').replaceAll(/\s+/g, ' ')
    assert.match(text, /allows users with the scope Orders\.Read/)
    assert.match(text, /allows apps with the role Orders\.Process/)
    const reply = await fetch(`${origin}/policies`)
    const { version } = (await reply.json()) as { version: string }
    assert.ok(text.includes(`version ${version}`))
    assert.match(text, new RegExp(`contoso ${ids.contoso}\\s*v2\\.0`))
    await assertHarmless(page, origin)
  })

  it('shows the last refusals with request id and what was missing', async () => {
    await verify(service, 'default', {
      Authorization: `Bearer ${v2User({ scp: 'Other' })}`,
      'X-Request-Id': 'find-me-1',
    })
    const page = await open()
    const row = page.getByRole('row').filter({ hasText: 'find-me-1' })
    const text = (await row.textContent()) ?? ''
    assert.match(text, /scope_missing/)
    assert.match(text, /the scope Orders\.Read; had the scope Other/)
  })

  it('breaks no id inside a word, whatever else is in its row', async () => {
    const requestId = '7F000001:8A4C_7F000001:1F40_6926F2A1_00C3:4D21'
    await verify(service, 'default', {
      Authorization: `Bearer ${v2User({ scp: 'Other' })}`,
      'X-Request-Id': requestId,
      'X-Forwarded-Uri': `/${'a-long-path/'.repeat(20)}`,
    })
    const page = await open()
    for (const width of [1280, 700, 320]) {
      await page.setViewportSize({ width, height: 800 })
      const broken: string[] = await page.evaluate(`
        [...document.querySelectorAll('td.id')].flatMap((cell) => {
          const text = cell.firstChild
          return [...(text?.data ?? '').matchAll(/[^-\\/]+/g)].flatMap(({ 0: word, index }) => {
            const range = document.createRange()
            range.setStart(text, index)
            range.setEnd(text, index + word.length)
            return range.getClientRects().length === 1 ? [] : [word]
          })
        })`)
      assert.deepEqual(broken, [], `${width} px`)
      const cell = page.locator('td.id', { hasText: requestId })
      assert.equal(await cell.count(), 1)
    }
  })

  it('explains a pasted token check by check', async () => {
    const page = await open()
    const allowed = await explain(page, v2User())
    assert.match(allowed, /^\s*allow 200/)
    assert.match(allowed, /its signature is right/)
    const refused = await explain(page, `Authorization: Bearer ${v2User({ scp: 'Other' })}\n`)
    assert.match(refused, /deny 403 scope_missing/)
    assert.match(refused, /NO scopes: wants Orders\.Read/)
    await assertAccessible(page)
    await assertHarmless(page, origin)
  })

  it('sends the token to its own server in a header, and puts it nowhere', async () => {
    const page = await open()
    const token = v2User()
    const asked: { url: string; headers: Record<string, string>; body: string | null }[] = []
    page.on('request', (request) => {
      asked.push({ url: request.url(), headers: request.headers(), body: request.postData() })
    })
    await explain(page, token)
    assert.deepEqual(
      asked.map(({ url, body }) => [url, body]),
      [[`${origin}/page/explain/default`, null]],
    )
    assert.equal(asked[0]?.headers['x-entra-auth-token'], `Bearer ${token}`)
    assert.ok(!page.url().includes(token.slice(0, 20)))
    await page.reload()
    assert.equal(await page.getByLabel('Access token').inputValue(), '')
    await assertHarmless(page, origin)
  })

  it('shows what is hostile as text', async () => {
    for (const text of hostile) {
      await verify(service, 'default', {
        'X-Forwarded-Host': text.replaceAll(/[^ -~]/g, ''),
        'X-Forwarded-Uri': `/${text.replaceAll(/[^ -~]/g, '')}`,
        'X-Request-Id': 'a<b',
      })
    }
    const page = await open()
    await page.getByText('<script>globalThis.hacked = 1</script>').first().waitFor()
    await assertHarmless(page, origin)
    for (const text of hostile) {
      const claims = { scp: text, roles: [text], name: text, aud: text }
      await explain(page, v2User(claims))
      await explain(page, `${text}`.replaceAll(/[^!-~]/g, '') || 'x')
      await assertHarmless(page, origin)
    }
    // Text that turns its direction is shown with its code.
    assert.match(
      (await page.locator('#revocations').textContent()) ?? '',
      /\\u\{202e\}gnp\.exe\\u\{0\}/,
    )
  })

  it('pages 10,000 revocations and finds one of them', async () => {
    const page = await open()
    const section = page.locator('#revocations')
    assert.match((await section.textContent()) ?? '', /Revocations \(10000\)/)
    assert.equal(await section.locator('tbody tr').count(), 100)
    await section.getByRole('link', { name: 'Next revocations' }).click()
    await section.getByText('page 2 of 100').waitFor()
    assert.ok(await section.getByText('left 150', { exact: true }).isVisible())
    await section.getByLabel('Kind, id or reason').fill('LEFT 9999')
    await section.getByRole('button', { name: 'Find' }).click()
    await section.getByText('left 9999', { exact: true }).waitFor()
    assert.equal(await section.locator('tbody tr').count(), 1)
    assert.equal(page.url(), `${origin}/`)
    await assertHarmless(page, origin)
  })

  it('says that the service does not answer, keeps what it shows, and goes on when it is back', async () => {
    const page = await open()
    const notice = page.locator('#notice')
    const refresh = page.getByRole('link', { name: 'Refresh' })
    assert.ok(await notice.isHidden())
    await page.route('**/*', (route) => route.abort())
    await refresh.click()
    await page.getByText('The service does not answer.').waitFor()
    assert.match((await notice.textContent()) ?? '', /still shows what it had before\.$/)
    assert.ok(await page.getByRole('heading', { name: /^Policies/ }).isVisible())
    await page.getByLabel('Access token').fill(v2User())
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.getByText('No explanation. The service does not answer.').waitFor()
    await assertAccessible(page)
    await page.unroute('**/*')
    await page.getByRole('link', { name: 'Next revocations' }).click()
    await page.getByText('page 2 of 100').waitFor()
    assert.ok(await notice.isHidden())
    // Another program may have taken the port meanwhile.
    await page.route('**/*', (route) =>
      route.fulfill({ body: '<p>Hello', contentType: 'text/html' }),
    )
    await refresh.click()
    await page.getByText('The answer is not from this service.').waitFor()
  })

  it('shows the answer to the last question, also if an earlier one comes later', async () => {
    const page = await open()
    const section = page.locator('#revocations')
    const late = Promise.withResolvers<void>()
    await page.route('**/?revocations=2**', async (route) => {
      await late.promise
      await route.continue()
    })
    await section.getByRole('link', { name: 'Next revocations' }).click()
    await section.getByLabel('Kind, id or reason').fill('left 9999')
    await section.getByRole('button', { name: 'Find' }).click()
    await section.getByText('left 9999', { exact: true }).waitFor()
    const arrived = page.waitForEvent('requestfinished', (request) =>
      request.url().includes('revocations=2'),
    )
    late.resolve()
    await arrived
    await page.evaluate(
      `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))`,
    )
    assert.equal(await section.locator('tbody tr').count(), 1)
  })

  it('fits at a zoom of 200 % with words of thousands of characters, and turns no text around', async () => {
    const word = 'W'.repeat(3_000)
    await verify(service, 'default', {
      Authorization: `Bearer ${v2User({ scp: word.slice(0, 900) })}`,
      'X-Request-Id': 'r'.repeat(128),
      'X-Forwarded-Uri': `/${word}`,
    })
    const page = await open()
    await page.setViewportSize({ width: 640, height: 400 })
    const text = await explain(page, v2User({ name: `\u202e${word}`, roles: [`\u2067${word}`] }))
    assert.doesNotMatch(text, /[\u202a-\u202e\u2066-\u2069]/)
    const width = await page.evaluate('document.documentElement.scrollWidth')
    assert.ok(Number(width) <= 640, `${width} px`)
  })

  it('prints dark on white without forms, moves nothing, and reads no clock of the browser', async () => {
    const page = await open()
    await page.emulateMedia({ media: 'print', colorScheme: 'dark' })
    const colours = await page.evaluate(`(({ color, backgroundColor }) => [color, backgroundColor])(
      getComputedStyle(document.body))`)
    assert.deepEqual(colours, ['rgb(0, 0, 0)', 'rgb(255, 255, 255)'])
    for (const name of ['nav', '#token-form']) assert.ok(await page.locator(name).isHidden(), name)
    assert.ok(await page.locator('#policies').isVisible())
    const { pageScript } = await import('../../src/admin/page-script.ts')
    const { pageStyle } = await import('../../src/admin/page-style.ts')
    assert.doesNotMatch(pageScript, /\bDate\b/)
    assert.doesNotMatch(pageStyle, /animation|transition/)
  })

  it('works by keyboard alone', async () => {
    const page = await open()
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate('document.activeElement.textContent'), 'In force')
    await page.getByLabel('Access token').focus()
    await page.keyboard.insertText(v2User())
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate('document.activeElement.id'), 'policy')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.locator('#explanation .check').first().waitFor()
    await page.getByRole('link', { name: 'Next revocations' }).focus()
    await page.keyboard.press('Enter')
    await page.getByText('page 2 of 100').waitFor()
    assert.equal(await page.evaluate('document.activeElement.id'), 'revocations-title')
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`axe finds nothing, and nothing runs over a narrow screen, ${colorScheme}`, async () => {
      const page = await open()
      await page.emulateMedia({ colorScheme })
      await assertAccessible(page)
      await page.setViewportSize({ width: 320, height: 640 })
      const width = await page.evaluate('document.documentElement.scrollWidth')
      assert.ok(Number(width) <= 320, `${width} px`)
      await assertAccessible(page)
    })
  }

  it('is not shown in a frame, and no page of another site reads it', async () => {
    const other = await startService()
    t.after(() => other.close())
    other.app.metrics.get('/evil', (_request, reply) =>
      reply.type('text/html').send('<!doctype html><title>evil</title><body>'),
    )
    await other.app.metrics.listen({ host: '127.0.0.1', port: 0 })
    const { port } = other.app.metrics.server.address() as AddressInfo
    for (const host of ['localhost', '127.0.0.1']) {
      const page = await browser.newPage()
      await page.goto(`http://${host}:${port}/evil`)
      const seen = await page.evaluate(async (target) => {
        const read = async (path: string, options?: RequestInit) => {
          try {
            const reply = await fetch(target + path, options)
            return `${reply.type} ${reply.status}`
          } catch {
            return 'refused'
          }
        }
        return [
          await read('/revocations'),
          await read('/'),
          await read('/revocations', { method: 'POST', mode: 'no-cors', body: '{}' }),
        ]
      }, origin)
      assert.deepEqual(seen, ['refused', 'refused', 'opaque 0'])
      const frame = await page.evaluate(async (target) => {
        // biome-ignore lint/suspicious/noExplicitAny: the types of a browser are not those of this project
        const { document } = globalThis as any
        const element = document.createElement('iframe')
        element.src = target
        const loaded = new Promise((done) => {
          element.onload = done
        })
        document.body.append(element)
        await loaded
        return element.contentDocument === null
          ? 'closed'
          : element.contentDocument.body.textContent
      }, origin)
      assert.ok(frame === 'closed' || frame === '', frame)
    }
  })
})

describe("the operator's page with an admin key", () => {
  const cleanUps: (() => unknown)[] = []
  const t = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  let browser: BrowserContext
  let origin: string
  before(async () => {
    browser = await startChromium(t)
    const service = await startService({ config: { admin: { adminKeyFile: '/run/key' } } })
    t.after(() => service.close())
    origin = await openAdmin(service)
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  async function unlock(page: Page, key: string): Promise<void> {
    await page.getByLabel('Admin key').fill(key)
    await page.getByRole('button', { name: 'Open' }).click()
  }

  it('shows nothing before the key is right', async () => {
    const page = await browser.newPage()
    const response = await page.goto(origin)
    assert.equal(response?.status(), 403)
    await assertAccessible(page)
    await unlock(page, 'not-the-key-0123456789')
    await page.getByText('This is not the admin key.').waitFor()
    const text = await page.content()
    for (const secret of ['Orders.Read', ids.contoso, 'contoso']) assert.ok(!text.includes(secret))
    await assertHarmless(page, origin)
  })

  it('opens with the key, explains a token, and asks for the key again after a reload', async () => {
    const page = await browser.newPage()
    await page.goto(origin)
    await unlock(page, callerKey)
    await page.getByRole('heading', { name: /^Policies/ }).waitFor()
    await page.getByLabel('Access token').fill(v2User())
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.getByText('allow 200').waitFor()
    await page.getByRole('link', { name: 'Refresh' }).click()
    await page.getByRole('heading', { name: /^Policies/ }).waitFor()
    assert.equal(page.url(), `${origin}/`)
    await assertAccessible(page)
    await assertHarmless(page, origin)
    // The key was replaced while the page is open.
    await page.route('**/*', (route, request) =>
      route.continue({
        headers: { ...request.headers(), authorization: 'Bearer another-key-0123456789' },
      }),
    )
    await page.getByRole('link', { name: 'Refresh' }).click()
    await page.getByText('The service takes another admin key now.').waitFor()
    await page.getByLabel('Access token').fill(v2User())
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.getByText('No explanation. The service takes another admin key now.').waitFor()
    await page.unroute('**/*')
    await page.reload()
    await page.getByLabel('Admin key').waitFor()
    assert.equal(await page.getByLabel('Admin key').inputValue(), '')
  })
})
