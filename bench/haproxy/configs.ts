/**
 * The configurations that are compared. Those of one template differ in one thing; the last pair is
 * the configuration that ships, with the action and with lines of HAProxy's own in its place.
 */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { formatPrepared } from '../../src/verify/allow-reply.ts'

/** Headers that the verifier's answer and the native variants carry, in the order of the service. */
const identity: Readonly<Record<string, string>> = {
  'X-Auth-Request-User': '22222222-2222-4222-8222-222222222222',
  'X-Auth-Request-Tenant': '11111111-1111-4111-8111-111111111111',
  'X-Auth-Request-Actor': 'user',
  'X-Auth-Request-Client': '55555555-5555-4555-8555-555555555555',
  'X-Auth-Request-Preferred-Username': 'alice@contoso.example',
  'X-Auth-Request-Name': 'Alice Example',
  'X-Auth-Request-Email': 'alice@contoso.example',
  'X-Auth-Request-Roles': 'Orders.Admin,Orders.Read',
  'X-Auth-Request-Groups': '44444444-4444-4444-8444-444444444444',
  'X-Auth-Request-Scopes': 'Orders.Read Orders.Write',
  'X-Auth-Request-Token-Id': 'AAAAAAAAAAAAAAAAAAAAAA',
}

const verdict: Readonly<Record<string, string>> = {
  'X-Entra-Auth-Verdict': 'allow',
  'X-Entra-Auth-Contract': '1',
  'X-Entra-Auth-Version': 'bench',
  'X-Entra-Auth-Headers': Object.keys(identity).join(','),
  'X-Entra-Auth-User': '22222222-2222-4222-8222-222222222222',
  'X-Entra-Auth-Tenant': '11111111-1111-4111-8111-111111111111',
  'X-Entra-Auth-Client': '55555555-5555-4555-8555-555555555555',
  'X-Entra-Auth-Actor': 'user',
  'X-Entra-Auth-Token-Id': 'AAAAAAAAAAAAAAAAAAAAAA',
  'X-Entra-Auth-Issued-At': '1700000000',
  'X-Entra-Auth-Key-Id': 'bench',
}

const isAlways = ['X-Entra-Auth-Verdict', 'X-Entra-Auth-Contract']

/** The same as one value. */
function prepared(): string {
  const managed = { names: Object.keys(identity), list: verdict['X-Entra-Auth-Headers'] ?? '' }
  const version = verdict['X-Entra-Auth-Version'] ?? ''
  const told = Object.entries({ ...verdict, ...identity }).filter(
    ([name]) => ![...isAlways, 'X-Entra-Auth-Version', 'X-Entra-Auth-Headers'].includes(name),
  )
  const value = formatPrepared(version, managed, told.flat())
  if (value === undefined) throw new Error('the identity has no prepared value')
  return value
}

/** Ports of 127.0.0.1, a different one each. */
export interface Ports {
  readonly front: number
  readonly loopback: number
  readonly metrics: number
  readonly verifier: number
  readonly application: number
}

/** Names of each port, for whoever looks for free ones. */
export const portNames = ['front', 'loopback', 'metrics', 'verifier', 'application'] as const

const shipped = resolve(import.meta.dirname, '../../haproxy-lua')
const lua = join(shipped, 'entra-auth.lua')
/** The action as it was released first, for what has become better or worse since. */
const firstRelease = resolve(import.meta.dirname, '../../test/e2e/fixtures/entra-auth-0.1.0.lua')
const shippedConfig = join(shipped, 'haproxy.cfg')

const defaults = `defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
`

/**
 * A HAProxy that plays the application and, unless `maxAge` is undefined, the verifier, so that
 * neither is what is measured. `maxAge` 0 lets the action keep nothing.
 */
export function originConfig(ports: Ports, maxAge: number | undefined): string {
  return `global
    maxconn 2000
    nbthread 1
${defaults}
listen application
    bind 127.0.0.1:${ports.application}
    http-request return status 200 content-type text/plain string ok
${maxAge === undefined ? '' : standInVerifier(ports, maxAge)}`
}

/** As the real one: one prepared value for an action that asks for it, and headers for any other. */
function standInVerifier(ports: Ports, maxAge: number): string {
  const about = Object.entries({ ...verdict, ...identity }).filter(
    ([name]) => !isAlways.includes(name),
  )
  const always = Object.entries({
    'X-Entra-Auth-Verdict': 'allow',
    'X-Entra-Auth-Contract': '1',
    'Cache-Control': `private, max-age=${maxAge}`,
  })
  const set = (name: string, value: string, condition = '') =>
    `    http-after-response set-header ${name} "${value}"${condition}`
  const lines = [
    ...always.map(([name, value]) => set(name, value)),
    set('X-Entra-Auth-Prepared', prepared(), ' if { var(txn.prepared) -m found }'),
    ...about.map(([name, value]) => set(name, value, ' unless { var(txn.prepared) -m found }')),
    set('X-Entra-Auth-Session-Id', 'AAAAAAAAAAAAAAAAAAAAAA', ' if { var(txn.session) -m found }'),
  ]
  return `
listen verifier
    bind 127.0.0.1:${ports.verifier}
    http-request set-var(txn.prepared) req.hdr(x-entra-auth-prepared) if { req.hdr(x-entra-auth-prepared) -m found }
    http-request set-var(txn.session) req.hdr(x-entra-auth-session) if { req.hdr(x-entra-auth-session) -m found }
    http-request return status 200 content-type application/json string '{"version":"bench","revocations":[]}' if { path /revocations }
${lines.join('\n')}
    http-request return status 200
`
}

interface Parts {
  /** Lines of the frontend, of the backend, and of `global`. */
  readonly front?: () => string
  readonly rules?: (files: Files) => string
  readonly global?: (files: Files) => string
}

const native = { rules: nativeHeaders }
const cached = { rules: action, global: loadAction }
const bare = { rules: action, global: loadBareAction }
const fast = { rules: fastLane, global: loadAction }
const first = { rules: action, global: loadFirstRelease }

const template = {
  alone: {},
  'native headers': native,
  'action, hot cache': cached,
  'action, hot cache, variables=none': bare,
  'native headers, stripping': { ...native, front: stripping },
  'action, hot cache, stripping': { ...cached, front: stripping },
  'action, hot cache, variables=none, stripping': { ...bare, front: stripping },
  'action, miss each time': cached,
  'action, session, hot cache': cached,
  'action, token of a page, hot cache': cached,
  'fast lane, token of a page, hot cache': fast,
  'fast lane, session, hot cache': fast,
  'fast lane, hot cache': fast,
  'fast lane, hot cache, stripping': { ...fast, front: stripping },
  'release 0.1.0, hot cache': first,
  'release 0.1.0, miss each time': first,
  'jwt_verify and native headers': {
    rules: (files: Files) => `${jwtVerify(files)}${nativeHeaders()}`,
  },
  'haproxy-auth-request and oauth2-proxy': {
    rules: authRequest,
    global: loadAuthRequest,
  },
} satisfies Record<string, Parts>

type TemplateVariant = keyof typeof template

/** A name of a variant; the last three are the shipped configuration as a whole. */
export type Variant =
  | TemplateVariant
  | 'shipped configuration, native headers and variables'
  | 'shipped configuration, action'
  | 'shipped configuration, fast lane'

/** Those that need nothing but HAProxy, the plainest first; the fast lane needs HAProxy 3.4. */
export function variantsOf(version: string): readonly Variant[] {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return hasFastLane(major, minor) ? ownVariants : ownVariants.filter((name) => !isFast(name))
}

function hasFastLane(major: number, minor: number): boolean {
  return major > 3 || (major === 3 && minor >= 4)
}

function isFast(variant: Variant): boolean {
  return variant.includes('fast lane')
}

const ownVariants: readonly Variant[] = [
  'alone',
  'native headers',
  'action, hot cache',
  'action, hot cache, variables=none',
  'native headers, stripping',
  'action, hot cache, stripping',
  'action, hot cache, variables=none, stripping',
  'shipped configuration, native headers and variables',
  'shipped configuration, action',
  'action, session, hot cache',
  'action, token of a page, hot cache',
  'shipped configuration, fast lane',
  'fast lane, hot cache',
  'fast lane, session, hot cache',
  'fast lane, token of a page, hot cache',
  'fast lane, hot cache, stripping',
  'release 0.1.0, hot cache',
  'action, miss each time',
  'release 0.1.0, miss each time',
  'jwt_verify and native headers',
]

/** Whether the load is a browser's: with the cookie of a session, or to compare it with, a token. */
export function isOfPage(variant: Variant): boolean {
  return hasSession(variant) || variant.includes('token of a page')
}

/** Whether the load has the cookie of a session in place of a token. */
export function hasSession(variant: Variant): boolean {
  return variant.includes('session')
}

/** Whether every request of the load has to be a hit in the action's cache. */
export function isHot(variant: Variant): boolean {
  return /hot cache|^shipped configuration, (action|fast lane)/.test(variant)
}

/** Files that a configuration names. */
export interface Files {
  /** Public key of the token, PEM. */
  readonly publicKey: string
  /** Folder for what the configuration itself brings. */
  readonly folder: string
  /** Folder of haproxy-auth-request, where that is compared. */
  readonly authRequest?: string
}

/** The configuration of the HAProxy that is measured, one thread. */
export function frontConfig(variant: Variant, ports: Ports, files: Files): string {
  if (variant === 'shipped configuration, fast lane') return shippedFront(ports)
  if (variant === 'shipped configuration, action') return shippedFront(ports, actionAlone)
  if (variant === 'shipped configuration, native headers and variables') {
    return nativeInPlaceOfAction(shippedFront(ports, actionAlone))
  }
  const { front, rules, global }: Parts = template[variant]
  return `global
    maxconn 2000
    nbthread 1
    tune.bufsize 32768
    tune.maxrewrite 12288
    .if version_atleast(3.1)
        tune.lua.bool-sample-conversion normal
    .endif
    setenv ENTRA_AUTH_VERIFIER 127.0.0.1:${ports.loopback}
    # Under callgrind on a busy machine a call may take long, and a refusal counts as no result.
    setenv ENTRA_AUTH_TIMEOUT_MS 60000
${global?.(files) ?? ''}
${defaults}
listen entra-verifier
    bind 127.0.0.1:${ports.loopback}
    http-reuse always
    server v1 127.0.0.1:${ports.verifier}

frontend www
    bind 127.0.0.1:${ports.front}
${front?.() ?? ''}
    default_backend orders

backend orders
    http-reuse always
${rules?.(files) ?? ''}
    server app 127.0.0.1:${ports.application}

frontend numbers
    bind 127.0.0.1:${ports.metrics}
    ${rules === action || rules === fastLane ? 'http-request use-service lua.entra-auth-metrics' : 'http-request deny'}
`
}

const actionAlone = { ENTRA_AUTH_FAST_LANE: 'off' }

/** The configuration that ships, with its addresses filled in, for one thread. */
export function shippedFront(ports: Ports, more: Readonly<Record<string, string>> = {}): string {
  const settings = {
    ...more,
    ENTRA_AUTH_BIND: `127.0.0.1:${ports.front}`,
    ENTRA_AUTH_VERIFIER: `127.0.0.1:${ports.loopback}`,
    ENTRA_AUTH_METRICS_BIND: `127.0.0.1:${ports.metrics}`,
    ENTRA_AUTH_VERIFIER_SERVER: `127.0.0.1:${ports.verifier}`,
    ENTRA_AUTH_APP_SERVER: `127.0.0.1:${ports.application}`,
    ENTRA_AUTH_LUA_FILE: lua,
  }
  const lines = Object.entries(settings).map(([name, value]) => `    setenv ${name} "${value}"\n`)
  const text = readFileSync(shippedConfig, 'utf8')
  return text.replace(/^global$/m, `global\n    nbthread 1\n${lines.join('')}`)
}

/** What an operator writes who trusts the same headers from elsewhere: all else stays as shipped. */
function nativeInPlaceOfAction(config: string): string {
  const call = /^ +http-request lua\.entra-auth orders\n/m
  if (!call.test(config)) throw new Error('the shipped configuration calls the action differently')
  const values = {
    status: 'int(200)',
    policy: 'str(orders)',
    user: 'str(22222222-2222-4222-8222-222222222222)',
    tenant: 'str(11111111-1111-4111-8111-111111111111)',
    client: 'str(55555555-5555-4555-8555-555555555555)',
    actor: 'str(user)',
    token_id: 'str(AAAAAAAAAAAAAAAAAAAAAA)',
    cache: 'str(hit)',
    ms: 'int(0)',
    ok: 'bool(true)',
  }
  const lines = Object.entries(values).map(
    ([name, value]) => `    http-request set-var(txn.entra.${name}) ${value}\n`,
  )
  return config.replace(call, () => `${nativeHeaders()}${lines.join('')}`)
}

/** The lines of the shipped frontend that whoever trusts identity headers needs. */
function stripping(): string {
  const text = readFileSync(shippedConfig, 'utf8')
  const lines = text.match(/^frontend www$[\s\S]*?(?=^backend )/m)?.[0].split('\n') ?? []
  const wanted = lines.filter((line) =>
    /^ +http-request (del-header|set-header connection) /.test(line),
  )
  if (wanted.length < 5) throw new Error('the shipped frontend strips differently')
  return wanted.join('\n')
}

function nativeHeaders(): string {
  const lines = Object.entries(identity).map(
    ([name, value]) => `    http-request set-header ${name} "${value}"\n`,
  )
  return lines.join('')
}

function loadAction(): string {
  return `    lua-load-per-thread ${lua}`
}

function loadBareAction(): string {
  return `    setenv ENTRA_AUTH_VARIABLES none\n${loadAction()}`
}

function action(): string {
  return `    http-request lua.entra-auth orders
    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }
`
}

/** What the printed configuration has, without the variables: as many headers as the native side. */
function fastLane(): string {
  return `    http-request set-var(txn.entra.hit) req.hdrs,lua.entra-auth-hit(orders,shared)
    http-request set-var(txn.entra.hit) req.fhdr(authorization),sha2(256),base64,concat(,txn.entra.hit),lua.entra-auth-shared(orders) if { var(txn.entra.hit) -m beg -- - }
    http-request set-var(txn.entra.ok) var(txn.entra.hit),ltrim(-0123456789),length,bool
    http-request add-headers-bin var(txn.entra.hit) if { var(txn.entra.ok) -m bool }
    http-request lua.entra-auth orders unless { var(txn.entra.ok) -m bool }
    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }
`
}

function loadFirstRelease(): string {
  return `    lua-load-per-thread ${firstRelease}`
}

/** Signature and algorithm only: no key set, no claims, no revocations. */
function jwtVerify({ publicKey }: Files): string {
  return `    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
    http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
    http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,"${publicKey}") 1 }
`
}

/**
 * Its HTTP client stands below it, as its submodule; the JSON library that it wants besides is not
 * used in this exchange, so an empty one does.
 */
function loadAuthRequest({ folder, authRequest = '' }: Files): string {
  return `    lua-prepend-path ${folder}/?.lua
    lua-prepend-path ${authRequest}/?/http.lua
    lua-load-per-thread ${authRequest}/auth-request.lua`
}

/** As its manual has it, with the fewest headers that do the job. */
function authRequest(): string {
  return `    http-request lua.auth-intercept entra-verifier /oauth2/auth GET authorization x-auth-request-* -
    http-request deny deny_status 401 unless { var(txn.auth_response_successful) -m bool }
`
}
