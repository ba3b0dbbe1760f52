import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { BrowserContext, Cookie, Page } from 'playwright-core'
import { contoso } from '../clients/authority.ts'
import { ask, values } from '../e2e/client.ts'
import { eventually } from '../support/eventually.ts'
import { startRunningClock } from '../support/running-clock.ts'
import { assertAccessible } from './chromium.ts'
import { foreignHost, siblingHost } from './other-site.ts'
import {
  arrive,
  choose,
  home,
  host,
  openUntil,
  otherHost,
  type Stack,
  signIn,
  startBrowserStack,
  unregisteredHost,
} from './stack.ts'

const aliceId = 'a1111111-1111-4111-8111-111111111111'
const sessionCookie = '__Host-entra-session'

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
  stack.application.reached.length = 0
})

const userOf = (page: Page) => page.locator('#user').textContent()
const pathOf = (page: Page) => page.locator('#path').textContent()
const textOf = async (page: Page) => (await page.textContent('main')) ?? ''
const cookieOf = async () =>
  (await browser.cookies(home)).find(({ name }) => name === sessionCookie)
const atEntra = (url: string) => url.startsWith(stack.authority)
const lines = () => stack.application.reached.map(({ line }) => line)

/** Signs in and returns a page of the application with the session's cookie. */
async function signedIn(persona = 'alice'): Promise<{ page: Page; cookie: Cookie }> {
  const page = await signIn(browser, persona)
  await arrive(page)
  return { page, cookie: (await cookieOf()) ?? assert.fail('no session') }
}

/** What somebody with a copy of the cookie gets at one of the HAProxies. */
async function asCopy({ port }: { readonly port: number }, { value }: Cookie) {
  const reply = await ask(port, {
    host,
    path: '/copy',
    headers: [['Cookie', `${sessionCookie}=${value}`]],
  })
  return { status: reply.status, reason: values(reply, 'x-entra-auth-reason').join() }
}

/** Asks with the cookie until both HAProxies answer out of their caches. */
async function heat(cookie: Cookie): Promise<void> {
  for (const haproxy of stack.haproxies) {
    const hits = async () => {
      const text = await (await fetch(haproxy.metricsUrl)).text()
      return Number(/^entra_auth_action_cache_hits_total (\d+)$/m.exec(text)?.[1] ?? 0)
    }
    const before = await hits()
    await eventually(
      async () => {
        assert.equal((await asCopy(haproxy, cookie)).status, 200)
        return hits()
      },
      (now) => now > before,
    )
  }
}

/** Fails unless both HAProxies refuse the cookie within two seconds, as `reason` says. */
async function assertRefusedWithin2s(cookie: Cookie, reason: string): Promise<void> {
  const clock = startRunningClock()
  try {
    for (const haproxy of stack.haproxies) {
      const reply = await eventually(
        () => asCopy(haproxy, cookie),
        ({ status }) => status !== 200,
      )
      assert.deepEqual(reply, { status: 401, reason })
    }
    assert.ok(clock.nowMs() < 2_000, `${clock.nowMs()} ms`)
  } finally {
    clock.stop()
  }
}

/** Sends a form from a page that is open, in the same window. */
async function sendForm(page: Page, action: string): Promise<void> {
  await page.setContent(
    `<!doctype html><html lang="en"><title>x</title><form method="post" action="${action}"><button name="a" value="1">Send</button></form>`,
  )
  await page.getByRole('button', { name: 'Send' }).click()
}

/** As much of XMLHttpRequest as a page here needs. */
interface Xhr {
  readonly status: number
  readonly responseURL: string
  readonly responseText: string
  onload: () => void
  open(method: string, url: string): void
  send(body: string): void
}

/** Opens a WebSocket from the page that is open: its first message, or `refused`. */
function openWebSocket(page: Page): Promise<string> {
  return page.evaluate(
    (url) =>
      new Promise<string>((done) => {
        const socket = new WebSocket(url)
        socket.onmessage = ({ data }) => done(data)
        socket.onerror = () => done('refused')
      }),
    `wss://${host}/socket`,
  )
}

describe('signing in with a browser', () => {
  it('a deep link with a query comes back to it after sign-in', async () => {
    const page = await signIn(browser, 'alice', '/reports?month=7&name=%C3%BC')
    assert.equal(await pathOf(page), '/reports?month=7&name=%C3%BC')
    assert.equal(await userOf(page), aliceId)
  })

  it('no second redirect follows, and the application sees neither cookie', async () => {
    const { page } = await signedIn()
    const response = await page.goto(`${home}/next`)
    assert.equal(response?.request().redirectedFrom(), null)
    assert.deepEqual(
      stack.application.reached.filter(({ cookie }) => cookie?.includes('entra')),
      [],
    )
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

  it('the back button leads back to the page', async () => {
    const page = await signIn(browser, 'alice', '/deep?q=1')
    await arrive(page)
    await page.getByRole('link', { name: 'Next' }).click()
    await page.waitForURL(`${home}/next`)
    await page.goBack()
    await page.waitForURL(`${home}/deep?q=1`)
    assert.equal(await userOf(page), aliceId)
  })

  it('the callback loaded again leads to the page and ends nothing', async () => {
    let callback = ''
    const page = await browser.newPage()
    page.on('request', (request) => {
      if (request.url().includes('/oauth2/callback?')) callback = request.url()
    })
    await page.goto(`${home}/deep?q=1`)
    await choose(page, 'alice')
    await arrive(page)
    const cookie = await cookieOf()
    await page.goto(callback)
    assert.equal(await pathOf(page), '/deep?q=1')
    await page.goto(callback)
    assert.equal(await pathOf(page), '/deep?q=1')
    assert.equal((await cookieOf())?.value, cookie?.value)
  })

  it('names with umlauts and from right to left reach the application', async () => {
    const umlaut = await signIn(browser, 'uwe')
    assert.equal(await umlaut.locator('#name').textContent(), 'Uwe Müller-Weiß')
    await browser.clearCookies()
    const arabic = await signIn(browser, 'layla')
    assert.equal(await arabic.locator('#name').textContent(), 'ليلى حداد')
  })

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

  it('a session counts for its own host only', async () => {
    const { cookie } = await signedIn()
    const page = await browser.newPage()
    const url = `https://${otherHost}`
    await browser.addCookies([{ name: sessionCookie, value: cookie.value, url, secure: true }])
    await stack.tell('/dev/refusal', { subject: 'alice', kind: 'disabled' })
    await page.goto(`${url}/`)
    assert.ok(atEntra(page.url()), page.url())
  })
})

describe('the soft end of a session', () => {
  /** A session that is past its soft end, and the page that it opened. */
  async function pastSoftEnd(): Promise<Page> {
    const { page } = await signedIn()
    await eventually(
      () =>
        page.evaluate(async () => {
          const reply = await fetch('/oauth2/userinfo')
          const { recheckAt } = (await reply.json()) as { recheckAt: number }
          return Date.now() / 1000 > recheckAt
        }),
      (isOver) => isOver,
    )
    return page
  }
  const askedEntra = async () =>
    (await stack.entra.inject('/dev/requests')).json().counts.authorize as number
  beforeEach(() => stack.configure({ recheckMinutes: 0.05 }))
  after(() => stack.configure({}))

  it('the next navigation goes by Entra without anything to click', async () => {
    const page = await pastSoftEnd()
    const before = await askedEntra()
    await openUntil(page, '/later?q=1', (url) => {
      assert.equal(url, `${home}/later?q=1`)
      return true
    })
    assert.ok((await askedEntra()) > before)
    assert.equal(await userOf(page), aliceId)
  })

  it('a half-filled form does not notice: it is sent, and arrives', async () => {
    const { page } = await signedIn()
    await page.locator('textarea').fill('half of a text')
    const recheckAt = await page.evaluate(async () => {
      const reply = await fetch('/oauth2/userinfo')
      return ((await reply.json()) as { recheckAt: number }).recheckAt
    })
    await eventually(
      () => Date.now() / 1000,
      (now) => now > recheckAt,
    )
    await page.getByRole('button', { name: 'Save' }).click()
    await page.waitForURL(`${home}/save`)
    const saved = stack.application.reached.find(({ line }) => line === 'POST /save')
    assert.equal(saved?.body, 'text=half+of+a+text')
    assert.equal(saved?.user, aliceId)
  })

  it('an open page that fetches does not notice', async () => {
    const page = await pastSoftEnd()
    const before = await askedEntra()
    const statuses = await page.evaluate(async () => {
      const get = async () => (await fetch('/api', { redirect: 'error' })).status
      return [await get(), await get(), await get()]
    })
    assert.deepEqual(statuses, [200, 200, 200])
    assert.equal(await askedEntra(), before)
  })

  it('a disabled person is out at the next re-check', async () => {
    const page = await pastSoftEnd()
    await stack.tell('/dev/refusal', { subject: 'alice', kind: 'disabled' })
    await openUntil(page, '/next', atEntra)
    await page.goto(`${home}/again`)
    assert.ok(atEntra(page.url()), page.url())
    assert.equal(await cookieOf(), undefined)
  })

  it('the callback of a re-check loaded twice at once does not end the session', async () => {
    const page = await pastSoftEnd()
    const cookie = (await cookieOf()) ?? assert.fail('no session')
    const callback = page.waitForRequest(/\/oauth2\/callback\?/)
    await page.goto(`${home}/twice`)
    const url = new URL((await callback).url())
    const [login] = (await browser.cookies(home)).filter(
      ({ name }) => name === '__Host-entra-login',
    )
    // As the browser would have sent it before it had the new cookie.
    const again = await ask(stack.haproxies[0].port, {
      host,
      path: url.pathname + url.search,
      headers: [
        ['Cookie', `${sessionCookie}=${cookie.value}; ${login?.name}=${login?.value}`],
        ['X-Forwarded-Proto', 'https'],
      ],
    })
    assert.equal(again.status, 302)
    assert.deepEqual(values(again, 'location'), ['/twice'])
    assert.deepEqual(values(again, 'set-cookie'), [])
    await page.goto(`${home}/still`)
    assert.equal(await userOf(page), aliceId)
  })

  it('Entra is out of order: the session goes on', async () => {
    const page = await pastSoftEnd()
    await stack.tell('/dev/refusal', { subject: 'portal', kind: 'secret-expired' })
    await page.goto(`${home}/goes/on`)
    assert.equal(await pathOf(page), '/goes/on')
    assert.equal(await userOf(page), aliceId)
  })
})

describe('the hard end of a session', () => {
  /** Waits on the page's own connection, since each thread of HAProxy has its own cache. */
  async function untilEnded(page: Page): Promise<string | null> {
    const fetchOnce = () =>
      page.evaluate(async () => {
        const { status, headers } = await fetch('/api')
        return { status, reason: headers.get('x-entra-auth-reason') }
      })
    return (await eventually(fetchOnce, ({ status }) => status === 401)).reason
  }
  after(() => stack.configure({}))

  it('a form sent after it shows the page and never reaches the application', async () => {
    await stack.configure({})
    const { page } = await signedIn()
    await page.locator('textarea').fill('half of a text')
    await stack.configure({ sessionHours: 0.001 })
    await untilEnded(page)
    stack.application.reached.length = 0
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByRole('heading', { name: 'Your sign-in has ended' }).waitFor()
    assert.match(await textOf(page), /not passed on/)
    await assertAccessible(page)
    assert.deepEqual(lines(), [])
  })

  it('a navigation goes to the sign-in, and a fetch gets 401', async () => {
    await stack.configure({})
    const { page } = await signedIn()
    await stack.configure({ sessionHours: 0.001 })
    assert.equal(await untilEnded(page), 'session_ended')
    const way: string[] = []
    page.on('request', (request) => void way.push(new URL(request.url()).pathname))
    await page.goto(`${home}/ended`)
    assert.ok(way.includes('/oauth2/start'), way.join(' '))
  })
})

describe('requests that are no navigation', () => {
  it('XHR and fetch without a session get 401 with JSON and no redirect', async () => {
    const { page } = await signedIn()
    await browser.clearCookies()
    const replies = await page.evaluate(async () => {
      const reply = await fetch('/api/orders')
      const xhr = await new Promise<Xhr>((done) => {
        const request = new (
          globalThis as unknown as { XMLHttpRequest: new () => Xhr }
        ).XMLHttpRequest()
        request.onload = () => done(request)
        request.open('POST', '/api/orders')
        request.send('{}')
      })
      return [
        { status: reply.status, url: reply.url, body: await reply.text() },
        { status: xhr.status, url: xhr.responseURL, body: xhr.responseText },
      ]
    })
    for (const { status, url, body } of replies) {
      assert.equal(status, 401)
      assert.equal(url, `${home}/api/orders`)
      assert.equal(JSON.parse(body).reason, 'no_session')
    }
  })

  it('a WebSocket with the session works', async () => {
    const { page } = await signedIn()
    assert.equal(await openWebSocket(page), 'hello')
    assert.equal(stack.application.reached.at(-1)?.user, aliceId)
  })

  for (const [what, site] of [
    ['another site', foreignHost],
    ['another host of the same site', siblingHost],
    ['another host that people sign in at', otherHost],
  ] as const) {
    it(`a WebSocket and a form from ${what} are refused, also with a hot cache`, async () => {
      const { page, cookie } = await signedIn()
      await heat(cookie)
      if (site === otherHost) {
        await page.goto(`https://${otherHost}/`)
        await arrive(page)
      } else await page.goto(`https://${site}/`)
      stack.application.reached.length = 0
      assert.equal(await openWebSocket(page), 'refused')
      await sendForm(page, `${home}/save`)
      await page.waitForURL(`${home}/save`)
      // A browser sends no cookie from another site, so there the session is not even seen.
      const expected = site === foreignHost ? /not passed on/ : /another site.*cross_site_request/s
      assert.match(await textOf(page), expected)
      await assertAccessible(page)
      assert.deepEqual(lines(), [])
      assert.equal((await asCopy(stack.haproxies[0], cookie)).status, 200)
    })
  }
})

describe('what a policy asks for', () => {
  it('step-up to c1 asks for a second factor and comes back to where the person was', async () => {
    const { page } = await signedIn()
    await page.goto(`${home}/strong/room?door=2`)
    assert.equal(await page.getByRole('heading').textContent(), 'Approve sign in request')
    await page.getByRole('button', { name: 'Approve' }).click()
    await page.waitForURL(`${home}/strong/room?door=2`)
    assert.equal(await userOf(page), aliceId)
  })

  for (const [what, persona, path, reason, why] of [
    ['a guest', 'gina', '/members', 'guest_not_allowed', /guest.*Ask the person who invited you/s],
    ['somebody without the group', 'bob', '/staff', 'group_missing', /groups.*administrator/s],
  ] as const) {
    it(`${what} gets a page that says why and who can help`, async () => {
      const page = await signIn(browser, persona, path)
      await page.waitForURL(`${home}${path}`)
      const text = await textOf(page)
      assert.match(text, why)
      assert.match(text, new RegExp(reason))
      assert.match(text, /You are signed in as (Gina|Bob)/)
      await assertAccessible(page)
      assert.deepEqual(lines(), [])
      // A script gets JSON, since nobody looks at its page.
      const cookie = (await cookieOf()) ?? assert.fail('no session')
      const fetched = await ask(stack.haproxies[0].port, {
        host,
        path,
        headers: [['Cookie', `${sessionCookie}=${cookie.value}`]],
      })
      assert.equal(fetched.status, 403)
      assert.equal(JSON.parse(fetched.body).reason, reason)
      // The way out: as somebody else.
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.waitForURL(`${home}/oauth2/signed_out`)
      assert.equal(await cookieOf(), undefined)
    })
  }

  it('members are admitted', async () => {
    const page = await signIn(browser, 'alice', '/staff')
    assert.equal(await userOf(page), aliceId)
    await page.goto(`${home}/members`)
    assert.equal(await userOf(page), aliceId)
  })
})

describe('the end of a session', () => {
  it('sign-out: the copied cookie is refused within 2 s with a hot cache on two HAProxies', async () => {
    const { page, cookie } = await signedIn()
    await heat(cookie)
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(`${home}/oauth2/signed_out`)
    await assertRefusedWithin2s(cookie, 'session_revoked')
    assert.equal(await cookieOf(), undefined)
  })

  it('sign-out: the session of Entra ends too', async () => {
    const { page } = await signedIn()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.waitForURL(`${home}/oauth2/signed_out`)
    await page.goto(home)
    // Entra asks again who it is.
    assert.ok(await page.locator('button[name="account"]').first().isVisible())
  })

  it('signing out of another application ends the session by the front channel', async () => {
    const logoutUrl = `${home}/oauth2/frontchannel_logout`
    await stack.tell('/dev/registration', { client: 'portal', logoutUrl })
    const { page, cookie } = await signedIn()
    await heat(cookie)
    const called = page.waitForResponse(/frontchannel_logout/)
    await page.goto(`${stack.authority}/contoso/oauth2/v2.0/logout`)
    assert.equal((await called).status(), 200)
    await assertRefusedWithin2s(cookie, 'session_revoked')
  })

  it('a revoked person is out within 2 s, with a hot cache on two HAProxies', async () => {
    const { cookie } = await signedIn('carol')
    await heat(cookie)
    const before = Math.floor(Date.now() / 1000) + 1
    const carol = 'a3333333-3333-4333-8333-333333333333'
    await stack.revoke({ kind: 'user', id: `${contoso}/${carol}`, before })
    await assertRefusedWithin2s(cookie, 'session_revoked')
  })
})

describe('an error of Entra ends in its page', () => {
  for (const [persona, button, number] of [
    ['dora', 'Return to the application', 'AADSTS50105'],
    ['kurt', 'Return to the application', 'AADSTS90094'],
    ['erik', 'Return to the application', 'AADSTS53003'],
    ['cora', 'Cancel', 'AADSTS65004'],
  ] as const) {
    it(`${number}, with number and correlation id`, async () => {
      const page = await signIn(browser, persona)
      await page.locator('.button', { hasText: button }).click()
      await page.waitForURL(/\/oauth2\/callback/)
      const text = await textOf(page)
      assert.match(text, new RegExp(number))
      assert.match(text, /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/)
      await assertAccessible(page)
      assert.equal(await cookieOf(), undefined)
    })
  }

  it('a redirect URI that is not registered ends at Entra, which names it', async () => {
    const page = await browser.newPage()
    await page.goto(`https://${unregisteredHost}/`)
    const text = (await page.textContent('body')) ?? ''
    assert.match(text, /AADSTS50011/)
    assert.ok(text.includes(`https://${unregisteredHost}/oauth2/callback`), text)
  })

  it('an expired secret: sessions continue, new sign-ins fail, and an alarm is raised', async () => {
    const { page } = await signedIn()
    await stack.tell('/dev/refusal', { subject: 'portal', kind: 'secret-expired' })
    const alarm = 'entra_auth_sign_ins_total{outcome="invalid_client"}'
    const before = await stack.metric(alarm)
    await page.goto(`${home}/still`)
    assert.equal(await userOf(page), aliceId)
    const stranger = await (await stack.openBrowser()).newPage()
    const from = stack.service.log.length
    await stranger.goto(home)
    await choose(stranger, 'bob')
    await stranger.waitForURL(/\/oauth2\/callback/)
    const text = await textOf(stranger)
    assert.match(text, /invalid_client/)
    assert.match(text, /AADSTS7000222/)
    await assertAccessible(stranger)
    const { msg } = await stack.service.waitForLog(({ level }) => Number(level) >= 50, from)
    assert.match(msg, /out of order/)
    assert.equal(await stack.metric(alarm), before + 1)
    await page.goto(`${home}/still/there`)
    assert.equal(await userOf(page), aliceId)
  })

  it('blocked cookies end in a page, not in a loop', async () => {
    const strict = await stack.openBrowser({ blocksCookies: true })
    const page = await signIn(strict, 'alice')
    await page.waitForURL(/\/oauth2\//)
    assert.match(await textOf(page), /cookies_blocked/)
    await assertAccessible(page)
  })
})

describe('the pages', () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    it(`run no script, have a strict policy, and axe finds nothing, ${colorScheme}`, async () => {
      const page = await browser.newPage()
      await page.emulateMedia({ colorScheme })
      const look = async () => {
        assert.equal(await page.locator('script').count(), 0)
        await assertAccessible(page)
      }
      for (const path of [
        '/oauth2/signed_out',
        '/oauth2/callback',
        '/oauth2/callback?error=access_denied&state=x',
        '/oauth2/nothing',
      ]) {
        const response = await page.goto(`${home}${path}`)
        assertStrict(response?.headers()['content-security-policy'])
        await look()
      }
      let policy: string | undefined
      page.on('response', (response) => {
        if (response.url() === `${home}/members`) {
          policy = response.headers()['content-security-policy']
        }
      })
      await page.goto(`${home}/members`)
      await choose(page, 'gina')
      await page.waitForURL(`${home}/members`)
      assertStrict(policy)
      await look()
      // Where a link of another site leads: it asks before it signs anybody out.
      await page.goto(`https://${foreignHost}/`)
      await page.setContent(`<a href="${home}/oauth2/sign_out">out</a>`)
      await page.getByRole('link').click()
      assert.equal(await page.getByRole('heading').textContent(), 'Sign out?')
      await look()
    })
  }

  it('show umlauts and names from right to left as they are', async () => {
    for (const [persona, name] of [
      ['uwe', 'Uwe Müller-Weiß'],
      ['layla', 'ليلى حداد'],
    ] as const) {
      await browser.clearCookies()
      const page = await signIn(browser, persona, '/staff')
      await page.waitForURL(`${home}/staff`)
      assert.ok((await textOf(page)).includes(name))
      await assertAccessible(page)
    }
  })
})

/** Fails unless a policy lets a page run and load nothing. */
function assertStrict(policy: string | undefined): void {
  const text = policy ?? ''
  assert.match(text, /default-src 'none'/)
  assert.match(text, /frame-ancestors 'none'/)
  assert.doesNotMatch(text, /script-src|unsafe|\*/)
}

// The last one, since Entra does not come back.
describe('Entra is down', () => {
  it('good sessions go on', async () => {
    const { page } = await signedIn()
    await stack.entra.close()
    for (const path of ['/down/1', '/members', '/staff']) {
      await page.goto(`${home}${path}`)
      assert.equal(await pathOf(page), path)
      assert.equal(await userOf(page), aliceId)
    }
    const stranger = await (await stack.openBrowser()).newPage()
    await stranger.goto(`${home}/new`).catch(() => undefined)
    assert.equal(lines().includes('GET /new'), false)
  })
})
