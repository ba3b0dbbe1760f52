import type { Config } from '../config/config.ts'
import { isLocal, serverKey } from './address.ts'
import { conditionHolds, type Term } from './condition.ts'
import { endsRequest, isAction } from './effect.ts'
import { readExpression, readTest } from './expression.ts'
import { type Finding, finding } from './finding.ts'
import { policyOf } from './policy-names.ts'
import { headerRemover, type ProxySection, placeOf, type Rule, type Topology } from './proxy.ts'
import { type Request, readPattern } from './request.ts'
import type { Step, Way } from './way.ts'

/** What the shipped configuration has there, where HAProxy reads those lines only with a variable set. */
const shippedServer = 'unset'

/**
 * The backends of the sign-in listener. All their servers have the port of `signIn.listen`, or an
 * address that is known only to HAProxy's environment. The listener answers requests without a
 * session, and knows no paths but its own.
 */
export function findSignIn(
  { proxies }: Topology,
  { signIn }: Pick<Config, 'signIn'>,
): readonly ProxySection[] {
  const isListener = (address: string) =>
    address === shippedServer ||
    (signIn !== undefined && serverKey(address).endsWith(`:${signIn.listen.port}`))
  return proxies.filter(
    ({ kind, name, servers }) =>
      kind === 'backend' &&
      name === 'entra-sign-in' &&
      servers.length > 0 &&
      servers.every(({ address }) => isListener(address)),
  )
}

/** Findings that say nothing where the branch without sign-in is read. */
export const signInCodes: ReadonlySet<string> = new Set([
  'sign-in-missing',
  'session-cookie-passed',
])

const signInPath = '/oauth2/start'

/**
 * Checks sign-in with a browser: its paths reach the listener, HAProxy sends it host and scheme,
 * and the application does not get the session cookie.
 */
export function checkSignIn(
  ways: readonly Way[],
  { signIn, policies }: Config,
  backends: readonly ProxySection[],
): Finding[] {
  if (!signIn) return []
  const withSessions = new Set(
    policies.filter(({ allow }) => allow.some(({ session }) => session)).map(({ name }) => name),
  )
  const guarded = ways.filter(
    ({ target, steps }) =>
      !backends.includes(target) &&
      steps.some(({ rule, proxy }) => {
        const policy = isAction(rule) ? policyOf(rule, proxy) : undefined
        return policy !== undefined && withSessions.has(policy)
      }),
  )
  return [
    ...guarded.flatMap((way) => checkRoute(way, backends)),
    ...ways
      .filter(({ target }) => backends.includes(target))
      .flatMap((way) => [...checkForwarded(way), ...checkTls(way)]),
    ...guarded.flatMap(checkCookie),
    ...publicWays(ways, backends, signIn.hosts).flatMap(checkCookie),
  ]
}

/** Whether a browser that is sent to sign in gets there from the frontend of this way. */
function checkRoute({ entry, target, known }: Way, backends: readonly ProxySection[]): Finding[] {
  const first = entry ?? target
  // Where no frontend leads here, nothing is known of the ways of requests.
  if (first.kind === 'backend') return []
  const request = { ...known.request, path: signInPath }
  const holds = (rule: Pick<Rule, 'condition'>) =>
    conditionHolds(rule.condition, { facts: [], request })
  const action = [...first.rules].find((rule) => isAction(rule) && holds(rule) !== false)
  const names = new Set(backends.map(({ name }) => name))
  const reached = first.routes.find(
    (route) => (names.has(route.target) && holds(route) !== false) || holds(route) === true,
  )
  if (!action && reached && names.has(reached.target)) return []
  return [
    finding(
      'sign-in-missing',
      action ? placeOf(action.line, first.section) : first.place,
      action
        ? 'runs for /oauth2/ too, so whoever is not signed in is sent to sign in again and again'
        : 'does not send /oauth2/ to the backend entra-sign-in, so nobody can sign in',
      action
        ? 'Write unless { path_beg /oauth2/ } at the action and its guard, and route that path to entra-sign-in.'
        : 'Add: use_backend entra-sign-in if { path_beg /oauth2/ }; haproxy-entra-auth haproxy-config prints the backend.',
    ),
  ]
}

/** The last rule that surely decides what the listener gets under this name. */
function lastWord({ steps, known }: Way, name: string, request: Request = {}): Rule | undefined {
  return steps
    .map(({ rule }) => rule)
    .findLast(
      (rule) =>
        (headerRemover(rule)?.(name) ||
          (rule.action === 'set-header' && rule.words[0]?.toLowerCase() === name)) &&
        conditionHolds(rule.condition, {
          ...known,
          request: { ...known.request, ...request },
        }) === true,
    )
}

function checkForwarded(way: Way): Finding[] {
  const open = ['x-forwarded-host', 'x-forwarded-proto'].find((name) => {
    const rule = lastWord(way, name)
    const value = rule?.action === 'set-header' ? (rule.words[1] ?? '') : ''
    return rule === undefined || /hdr\(\s*x-forwarded/i.test(value)
  })
  if (open === undefined) return []
  return [
    finding(
      'sign-in-forwarded',
      way.target.place,
      `passes ${open} of the client on, and the sign-in listener makes redirect URIs of it`,
      'Write in the backend, without a condition: http-request set-header x-forwarded-host %[req.hdr(host)] and http-request set-header x-forwarded-proto http; https in a third line if { ssl_fc }.',
    ),
  ]
}

/** Sessions in plain HTTP: on the wire, everybody can take the cookie. */
function checkTls(way: Way): Finding[] {
  const { entry, target, steps, known } = way
  const plain = entry?.binds.find(
    ({ line, addresses }) =>
      !line.words.includes('ssl') && addresses.some((address) => !isLocal(address)),
  )
  if (!entry || !plain) return []
  const request = { isTls: false, path: signInPath }
  const isRefused = steps.some(
    ({ rule }) =>
      endsRequest(rule) && conditionHolds(rule.condition, { ...known, request }) === true,
  )
  // A proxy in front of HAProxy ends TLS where the operator says so.
  const isEnded = lastWord(way, 'x-forwarded-proto', request)?.words[1] === 'https'
  if (isRefused || isEnded) return []
  return [
    finding(
      'sign-in-plaintext',
      placeOf(plain.line, entry.section),
      `takes requests for ${target.name} without TLS, and a session would be everybody's on the way`,
      'Redirect to https there; where a proxy in front ends TLS, set x-forwarded-proto https in the backend.',
    ),
  ]
}

/** Ways without the action, on hosts where people sign in: browsers send the cookie there as well. */
function publicWays(
  ways: readonly Way[],
  backends: readonly ProxySection[],
  hosts: readonly string[],
): Way[] {
  const entries = new Set(
    ways.filter(({ target }) => backends.includes(target)).map(({ entry }) => entry),
  )
  return ways.filter(
    ({ entry, target, steps, known }) =>
      entries.has(entry) &&
      target.servers.length > 0 &&
      !backends.includes(target) &&
      !steps.some(({ rule }) => isAction(rule)) &&
      !known.facts.some((fact) => isOtherHost(fact, hosts)),
  )
}

function isOtherHost({ negated, tests }: Term, hosts: readonly string[]): boolean {
  return (
    !negated &&
    tests.length > 0 &&
    tests.every((words) => {
      const { expression, method, fromFile, values } = readTest(words)
      const isExact = !fromFile && (method === 'default' || method === 'str')
      const isHost = expression.fetch === 'req.hdr' && /^host$/i.test(expression.argument)
      const names = hosts.map((host) => host.replace(/:\d+$/, ''))
      return (
        isExact &&
        isHost &&
        values.every((value) => !names.includes(value.toLowerCase().replace(/:\d+$/, '')))
      )
    })
  )
}

/** Cookies as a browser sends them, each with the secret that must be gone. */
const cookies = ['__Host-entra-session=SECRET', 'a=1; __Host-entra-session=SECRET; b=2']

function checkCookie(way: Way): Finding[] {
  const at = way.steps.findLastIndex(({ rule }) => isAction(rule))
  const later = way.steps.slice(at + 1)
  if (cookies.every((cookie) => isRemoved(cookie, later, way))) return []
  return [
    finding(
      'session-cookie-passed',
      way.target.place,
      'passes the session cookie on: anyone who reads it there, for example in a log, can act as that person',
      'Take the lines behind the guard that haproxy-entra-auth haproxy-config prints; they remove the cookie.',
    ),
  ]
}

function isRemoved(cookie: string, steps: readonly Step[], { known }: Way): boolean {
  const request = { ...known.request, headers: { cookie: [cookie] } }
  return steps.some(
    ({ rule }) =>
      conditionHolds(rule.condition, { ...known, request }) === true && removes(rule, cookie),
  )
}

function removes(rule: Rule, cookie: string): boolean {
  if (headerRemover(rule)?.('cookie')) return true
  const [name, value = '', format = ''] = rule.words
  if (name?.toLowerCase() !== 'cookie') return false
  if (rule.action === 'replace-header' || rule.action === 'replace-value') {
    const pattern = readPattern(value)
    if (!pattern?.test(cookie)) return false
    return !cookie.replace(pattern, format.replace(/\\(\d)/g, '$$$1')).includes('SECRET')
  }
  if (rule.action !== 'set-header') return false
  const inside = /^%\[(.*)\]$/.exec(value)?.[1]
  if (inside === undefined) return !value.includes('%[')
  const { fetch, argument, converters } = readExpression(inside)
  if (!/^req\.f?hdr$/.test(fetch) || argument.toLowerCase() !== 'cookie') return false
  return !converters.reduce(substituted, cookie).includes('SECRET')
}

/** What the converter regsub makes of a text; others change nothing that matters here. */
function substituted(text: string, converter: string): string {
  const inside = /^regsub\((.*)\)$/s.exec(converter)?.[1]
  if (inside === undefined) return text
  const [pattern = '', by = '', flags = ''] = [
    ...inside.matchAll(/(?:^|,)(?:'([^']*)'|"([^"]*)"|([^,]*))/g),
  ].map(([, single, double, plain]) => single ?? double ?? plain ?? '')
  const read = readPattern(pattern, flags.includes('i'))
  const global =
    read && new RegExp(read.source, flags.includes('g') ? `${read.flags}g` : read.flags)
  return global ? text.replace(global, by.replace(/\\(\d)/g, '$$$1')) : text
}
