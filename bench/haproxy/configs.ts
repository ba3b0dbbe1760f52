/** The configurations that are compared, made from one template so that they differ in one thing. */

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

/** Ports of 127.0.0.1, a different one each. */
export interface Ports {
  readonly front: number
  readonly loopback: number
  readonly verifier: number
  readonly application: number
}

const defaults = `defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
`

/**
 * A HAProxy that plays the application and the verifier, so that neither is what is measured.
 * `maxAge` 0 lets the action keep nothing.
 */
export function originConfig(ports: Ports, maxAge: number): string {
  const headers = Object.entries({
    ...verdict,
    ...identity,
    'Cache-Control': `private, max-age=${maxAge}`,
  })
  const lines = headers.map(
    ([name, value]) => `    http-after-response set-header ${name} "${value}"`,
  )
  return `global
    maxconn 2000
    nbthread 1
${defaults}
listen application
    bind 127.0.0.1:${ports.application}
    http-request return status 200 content-type text/plain string ok

listen verifier
    bind 127.0.0.1:${ports.verifier}
    http-request return status 200 content-type application/json string '{"version":"bench","revocations":[]}' if { path /revocations }
${lines.join('\n')}
    http-request return status 200
`
}

/** What stands in the backend, and in `global`, of each variant. */
const variants = {
  alone: { rules: () => '', global: () => '' },
  'native headers': { rules: nativeHeaders, global: () => '' },
  'action, hot cache': { rules: action, global: loadAction },
  'action, hot cache, variables=none': { rules: action, global: loadBareAction },
  'action, miss each time': { rules: action, global: loadAction },
  'jwt_verify and native headers': {
    rules: (file: string) => `${jwtVerify(file)}${nativeHeaders()}`,
    global: () => '',
  },
} as const

/** A name of a variant. */
export type Variant = keyof typeof variants

/** Every variant, the plainest first. */
export const variantNames = Object.keys(variants) as Variant[]

/** Files that a configuration names. */
export interface Files {
  readonly lua: string
  /** Public key of the token, PEM. */
  readonly publicKey: string
}

/** The configuration of the HAProxy that is measured. */
export function frontConfig(variant: Variant, ports: Ports, files: Files): string {
  const { rules, global } = variants[variant]
  return `global
    maxconn 2000
    nbthread 1
    tune.bufsize 32768
    tune.maxrewrite 12288
    .if version_atleast(3.1)
        tune.lua.bool-sample-conversion normal
    .endif
    setenv ENTRA_AUTH_VERIFIER 127.0.0.1:${ports.loopback}
${global(files.lua)}
${defaults}
listen entra-verifier
    bind 127.0.0.1:${ports.loopback}
    http-reuse always
    server v1 127.0.0.1:${ports.verifier}

frontend www
    bind 127.0.0.1:${ports.front}
    default_backend orders

backend orders
    http-reuse always
${rules(files.publicKey)}
    server app 127.0.0.1:${ports.application}
`
}

function nativeHeaders(): string {
  const lines = Object.entries(identity).map(
    ([name, value]) => `    http-request set-header ${name} "${value}"\n`,
  )
  return lines.join('')
}

function loadAction(lua: string): string {
  return `    lua-load-per-thread ${lua}`
}

function loadBareAction(lua: string): string {
  return `    setenv ENTRA_AUTH_VARIABLES none\n${loadAction(lua)}`
}

function action(): string {
  return `    http-request lua.entra-auth orders
    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }
`
}

/** Signature and algorithm only: no key set, no claims, no revocations. */
function jwtVerify(publicKey: string): string {
  return `    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
    http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
    http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,"${publicKey}") 1 }
`
}
