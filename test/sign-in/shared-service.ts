import { after, afterEach, before, beforeEach } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { openSession } from '../../src/session/session.ts'
import { startMs } from '../support/ids.ts'
import { sealingKeys } from '../support/sessions.ts'
import { type Browser, openBrowser, type SignInService, startSignIn } from '../support/sign-in.ts'

/**
 * One service for all tests of a file, and a browser for each. Each test begins at the same moment: the
 * clock for intervals goes back with the other one, so jumps of several tests never add up.
 */
export function shareService(
  receive: (shared: { readonly service: SignInService; readonly browser: Browser }) => void,
): void {
  let service: SignInService
  let nowMs = () => startMs
  before(async () => {
    service = await startSignIn({ monotonic: () => nowMs() })
    nowMs = () => service.time.nowMs
  })
  after(() => service.close())
  beforeEach(() => {
    service.time.nowMs = startMs
    receive({ service, browser: openBrowser(service) })
  })
  afterEach(() => {
    service.revocations.length = 0
    service.authority.token = undefined
    service.authority.contoso.v2.metadataFault = undefined
  })
}

/** The session in the cookie of a browser. */
export const sessionIn = (from: Browser) =>
  openSession(sealingKeys, from.cookies.get(sessionCookie) ?? '')

/** What a throttle or a proxy on the way says; none of it is an answer of a token endpoint. */
export const notFromEntra = [
  { status: 429, body: { error: 'too_many_requests' } },
  { status: 403, body: '<html>blocked</html>' },
  { status: 407, body: { error: 'proxy' } },
  { status: 200, body: '<html>please log in to the network</html>' },
] as const
