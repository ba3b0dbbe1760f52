/** An application behind the action, in pieces that a test can change. */
export interface Parts {
  readonly global?: string
  readonly bind?: string
  /** Rules of the frontend before all others. */
  readonly first?: string
  /** Rules of the frontend behind the stripping. */
  readonly frontend?: string
  /** Where the frontend sends requests. */
  readonly routes?: string
  /** Rules of the backend in place of action and guard. */
  readonly rules?: string
  readonly server?: string
  readonly more?: string
  /** Lines of the section of the verifier. */
  readonly verifier?: string
  readonly limits?: string
}

export const action = 'http-request lua.entra-auth orders'
export const guard = 'http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }'

/** What keeps answers of the verifier short. */
export const usualLimits = `tcp-response inspect-delay 1s
  tcp-response content reject if { status lt 200 }
  http-response wait-for-body time 1s
  http-response deny deny_status 502 if { res.body_size gt 12288 }`

/** The configuration; clean where nothing is changed. */
export function configuration({
  global = '',
  bind = 'bind :443 ssl crt www.pem',
  first = '',
  verifier = 'server v1 127.0.0.1:8080 check',
  limits = usualLimits,
  frontend = '',
  routes = 'default_backend orders',
  rules = `${action}\n${guard}`,
  server = 'server app 10.0.0.1:3000',
  more = '',
}: Parts): string {
  return `global
  zero-warning
  noreuseport
  tune.bufsize 32768
  tune.maxrewrite 12288
  lua-load-per-thread /etc/haproxy/entra-auth.lua
  ${global}
defaults
  mode http
listen entra-verifier
  bind 127.0.0.1:14480
  option httpchk GET /readyz
  timeout connect 200ms
  timeout server 1s
  ${limits}
  ${verifier}
frontend www
  ${bind}
  ${first}
  http-request deny deny_status 405 if { method CONNECT }
  http-request del-header ^x[^a-z0-9]auth[^a-z0-9]request -m reg
  http-request del-header ^x[^a-z0-9]entra[^a-z0-9]auth -m reg
  http-request del-header upgrade
  http-request del-header connection
  ${frontend}
  ${routes}
backend orders
  ${rules}
  ${server}
${more}
`
}
