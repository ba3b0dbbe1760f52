/** A person with a browser, as far as cookies and redirects go. */
import { type Answer, call, type HeaderField } from './call.ts'

/** What a browser says of itself when a person goes to a page. */
const navigation: readonly HeaderField[] = [
  ['Sec-Fetch-Mode', 'navigate'],
  ['Sec-Fetch-Dest', 'document'],
  ['Sec-Fetch-Site', 'none'],
]

export interface Visitor {
  /** Goes to a page of the portal, without following a redirect. */
  open(path: string): Promise<Answer>
  /** Goes to a page and wherever it leads; at dev-entra the person of that name signs in. */
  signIn(path: string, persona: string): Promise<Answer>
  /** Asks as a script of the page does. */
  fetch(path: string): Promise<Answer>
  /** Sends a form that a page of another site made. */
  sendForeignForm(path: string): Promise<Answer>
  /** Signs out, and asks with a copy of the cookie until HAProxy knows. */
  signOutAndTryCopy(): Promise<Answer>
}

/** Hops of a sign-in, and some more. */
const maxHops = 8
/** Within this time every HAProxy knows of a sign-out. */
const knownWithinMs = 3_000

/** Opens a browser without cookies for the portal at `origin`. */
export function createVisitor(origin: string): Visitor {
  const jar = new Map<string, string>()
  let atEntra: readonly string[] = []

  async function ask(
    path: string,
    headers: readonly HeaderField[],
    method = 'GET',
    cookie = [...jar].map((pair) => pair.join('=')).join('; '),
  ): Promise<Answer> {
    const all: HeaderField[] = [...headers, ...(cookie ? [['Cookie', cookie] as const] : [])]
    const answer = await call(`${origin}${path}`, {
      method,
      headers: all,
      ...(method === 'GET' ? {} : { body: '' }),
    })
    for (const line of answer.cookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') jar.delete(name)
      else jar.set(name, value)
    }
    return answer
  }

  /** Without `Accept: text/html` dev-entra signs in whom the hint names, and shows no page. */
  async function passEntra(address: string, persona: string): Promise<string> {
    const url = new URL(address)
    url.searchParams.set('login_hint', persona)
    const answer = await call(url.href, {
      headers: atEntra.length === 0 ? [] : [['Cookie', atEntra.join('; ')]],
    })
    atEntra = answer.cookies.map((line) => line.split(';', 1)[0] ?? '')
    if (answer.location === undefined) throw new Error(`dev-entra answered ${answer.status}`)
    return answer.location
  }

  return {
    open: (path) => ask(path, navigation),
    async signIn(path, persona) {
      let answer = await ask(path, navigation)
      for (let hop = 0; answer.location !== undefined; hop++) {
        if (hop === maxHops) throw new Error('the sign-in goes round in circles')
        const next = new URL(answer.location, origin)
        const here =
          next.origin === origin ? next : new URL(await passEntra(next.href, persona), origin)
        answer = await ask(here.pathname + here.search, navigation)
      }
      return answer
    },
    fetch: (path) =>
      ask(path, [
        ['Sec-Fetch-Mode', 'cors'],
        ['Sec-Fetch-Dest', 'empty'],
      ]),
    sendForeignForm: (path) =>
      ask(path, [...navigation.slice(0, 2), ['Sec-Fetch-Site', 'cross-site']], 'POST'),
    async signOutAndTryCopy() {
      const copy = [...jar].map((pair) => pair.join('=')).join('; ')
      await ask('/oauth2/sign_out', [['Sec-Fetch-Site', 'same-origin']], 'POST')
      const tryCopy = () => ask('/oauth2/userinfo', [], 'GET', copy)
      const deadline = performance.now() + knownWithinMs
      let answer = await tryCopy()
      while (answer.status === 200 && performance.now() < deadline) answer = await tryCopy()
      return answer
    },
  }
}
