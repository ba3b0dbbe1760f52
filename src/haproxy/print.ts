import type { Config, ListenAddress } from '../config/config.ts'
import { isLoopback } from '../loopback.ts'
import { refuseAmbiguousPaths } from './plain-path.ts'
import { checkTimes, healthCheck, secondTry } from './replicas.ts'
import { removeSessionCookies, signInLines } from './sign-in.ts'
import { stripLines } from './strip.ts'

/** What the lines are printed for. */
export interface HaproxyLines {
  readonly config: Config
  /** `HOST:PORT` where HAProxy reaches the verifier. */
  readonly verifier: string
  /** Paths of the metadata of RFC 9728, one for each resource. */
  readonly metadataPaths: readonly string[]
}

const applicationServer = '127.0.0.1:3000'

/**
 * A HAProxy configuration for these policies and this header set. It starts as it is, on HAProxy 2.6
 * and later; where clients come in and where applications listen are examples.
 */
export function printHaproxyConfig({ config, verifier, metadataPaths }: HaproxyLines): string {
  const paths = [...new Set(metadataPaths)]
  const backends = backendNames(config)
  return [
    '# Printed by "haproxy-entra-auth haproxy-config". Change the lines marked with CHANGE.',
    '',
    ...globalLines(config),
    '',
    ...defaultsLines,
    '',
    ...verifierLines(verifier, config.listen.tls !== undefined),
    '',
    ...frontendLines(config, [...backends.values()], paths),
    ...config.policies.flatMap(({ name }) => [
      '',
      ...backendLines(name, backends.get(name) ?? name, config.signIn !== undefined),
    ]),
    ...(config.signIn ? ['', ...signInLines(config.signIn.listen, verifier)] : []),
    '',
    ...metricsLines,
    ...(paths.length > 0 ? ['', ...metadataLines(verifier, config.listen.tls !== undefined)] : []),
    '',
  ].join('\n')
}

/** Where HAProxy on the same host reaches the verify listener; undefined where the port is any. */
export function verifierAddress({ host, port }: ListenAddress): string | undefined {
  if (port === 0) return undefined
  if (host === '0.0.0.0') return `127.0.0.1:${port}`
  if (host === '::') return `[::1]:${port}`
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function globalLines({ callerKey }: Config): string[] {
  return [
    'global',
    '    # Notices and errors only: the frontend below has a log line of its own for each request.',
    '    log stdout format raw local0 notice',
    '    # A section that forgot `mode http` would ignore every rule below: refuse to start instead.',
    '    zero-warning',
    "    # A second process sharing the loopback port would answer the action's calls.",
    '    noreuseport',
    '    # CHANGE: started as root, HAProxy drops its privileges with these lines. An ordinary user must',
    '    # leave them out.',
    '    # user haproxy',
    '    # group haproxy',
    '    # chroot /var/lib/haproxy',
    '    maxconn 4000',
    '    hard-stop-after 30s',
    '    # Room for a large token and its identity headers.',
    '    tune.bufsize 32768',
    '    tune.maxrewrite 12288',
    '    # With the default of 100, a few connections without a token take all sockets from the others.',
    '    tune.h2.max-concurrent-streams 10',
    '    .if version_atleast(3.1)',
    '        tune.lua.bool-sample-conversion normal',
    '    .endif',
    ...(callerKey === undefined
      ? []
      : [
          '    # The verifier has a callerKeyFile: start HAProxy with the same key in the variable',
          '    # ENTRA_AUTH_CALLER_KEY. Whoever may "show env" on a stats socket (level operator) reads it.',
        ]),
    '    setenv ENTRA_AUTH_COUNT_BAD_TOKENS sc0',
    `    lua-load-per-thread ${variable('ENTRA_AUTH_LUA_FILE', '/etc/haproxy/entra-auth.lua')}`,
  ]
}

const defaultsLines = [
  'defaults',
  '    mode http',
  '    timeout connect      5s',
  '    timeout client       30s',
  '    timeout server       30s',
  '    timeout queue        5s',
  '    timeout http-request 10s',
  '    timeout tunnel       1h',
  '    option dontlognull',
  '    # A reload must not close a connection on which the next request is already under way.',
  '    option idle-close-on-response',
  '    # As before 3.3: HAProxy writes an error for each client that goes away during a call.',
  '    no option abortonclose',
]

function verifierLines(verifier: string, isTls: boolean): string[] {
  const isLocal = isLoopback(verifier.replace(/:\d+$/, ''))
  return [
    '# From the action to the verifier. Never route clients to this section.',
    'listen entra-verifier',
    `    bind ${variable('ENTRA_AUTH_VERIFIER', '127.0.0.1:14480')}`,
    '    mode http',
    '    log global',
    '    option dontlog-normal',
    ...healthCheck,
    '    http-reuse always',
    ...secondTry,
    '    timeout queue   200ms',
    '    timeout client  5s',
    '    timeout server  1s',
    '    # An answer without an end would keep a request waiting for ever, and fill the memory.',
    '    tcp-response inspect-delay 1s',
    '    tcp-response content reject if { status lt 200 }',
    '    acl asks_verdict   var(txn.asked) -m beg /verify',
    '    acl not_modified   status 304',
    '    acl one_length     res.fhdr_cnt(content-length) eq 1',
    '    http-request set-var(txn.asked) path',
    '    http-response wait-for-body time 1s if asks_verdict',
    '    http-response deny deny_status 502 if asks_verdict { res.body_size gt 12288 }',
    '    http-response deny deny_status 502 if !asks_verdict !not_modified !one_length',
    '    http-response deny deny_status 502 if { res.body_size gt 4194304 }',
    checkTimes,
    ...(isTls
      ? [
          '    # CHANGE: the authority of the certificate in listen.tls (PEM), and a DNS name that stands in',
          '    # it. Without verifyhost any certificate of that authority would do.',
        ]
      : []),
    ...(isLocal || isTls
      ? []
      : [
          '    # CHANGE: on another host only with TLS (whoever sits on the path could forge an allow); add',
          '    # ssl verify required ca-file FILE verifyhost NAME, here and in entra-metadata if there is one.',
        ]),
    `    server v1 ${quoteWord(verifier)}${isTls ? tlsWords(verifier) : ''}`,
  ]
}

/** The line of a request, as `docs/logs.md` describes it. */
const accessLog = [
  ['request_id', '%ID'],
  ['client', '%ci:%cp'],
  ['method', '%HM'],
  ['path', '%HPO'],
  ['status', '%ST'],
  ['bytes', '%B'],
  ['backend', '%b'],
  ['server', '%s'],
  ['termination', '%ts'],
  ['total_ms', '%Ta'],
  ...[
    ...['verify_ms ms', 'ok ok', 'policy policy', 'actor actor', 'tenant tenant', 'user user'],
    ...['client_id client', 'token_id token_id', 'reason reason', 'cache cache'],
  ].map((pair) => {
    const [name, variable] = pair.split(' ')
    return [name, `%[var(txn.entra.${variable})]`]
  }),
]
  .map(([name, value]) => `${name}=${value}`)
  .join(' ')

/** An example of a host for a backend: its name in the characters that a host may have. */
function hostOf(backend: string): string {
  return backend.replace(/_/g, '-').replace(/^[.-]+/, '')
}

function frontendLines(
  { identityHeaders, policies, signIn }: Config,
  backends: readonly string[],
  metadataPaths: readonly string[],
): string[] {
  const [only] = backends
  return [
    'frontend www',
    '    # CHANGE: bind :443 ssl crt /etc/haproxy/www.pem alpn h2,http/1.1',
    `    bind ${variable('ENTRA_AUTH_BIND', '127.0.0.1:8000')}`,
    '    mode http',
    "    # Below 40% of the global maxconn: clients must leave connections for the action's calls.",
    '    maxconn 1500',
    '    # For a load balancer in front: HAProxy itself answers, and forwards nothing.',
    '    monitor-uri /haproxy-livez',
    '    log stdout format raw local0 info',
    '    # The path without its query, which may hold a token.',
    `    log-format "${accessLog}"`,
    "    # One id for this log, the verifier's and the application's; never the client's.",
    '    unique-id-format %{+X}o%ci%cp%fi%fp%Ts%rt%pid',
    '    http-request set-header x-request-id %[unique-id]',
    '    # An application that answers CONNECT with 200 would open a tunnel past every rule.',
    '    http-request deny deny_status 405 if { method CONNECT }',
    '    # Identity headers never come from outside, in any spelling.',
    ...stripLines(identityHeaders).map((line) => `    ${line}`),
    '    # A client must neither have identity headers dropped nor open an h2c tunnel; WebSocket works.',
    '    http-request del-header upgrade unless { req.fhdr_cnt(upgrade) eq 1 } { req.fhdr(upgrade) -m str -i websocket }',
    '    http-request del-header http2-settings',
    '    http-request del-header connection',
    '    http-request set-header connection upgrade if { req.fhdr(upgrade) -m found }',
    '    http-request del-header proxy-connection',
    '    http-request del-header keep-alive',
    '    # An application can open a tunnel with a 101 that nobody asked for, or to another protocol.',
    '    acl asked_websocket  var(txn.upgrade) -m found',
    '    acl opens_websocket  res.fhdr(upgrade) -m str -i websocket',
    '    http-request set-var(txn.upgrade) req.fhdr(upgrade)',
    '    http-response deny deny_status 502 if { status 101 } !asked_websocket',
    '    http-response deny deny_status 502 if { status 101 } !opens_websocket',
    '    # The action counts the bad tokens of each source here, and makes no calls for one with too many.',
    '    # CHANGE: behind a proxy that all clients share, track the address that it forwards, not src.',
    '    stick-table type ipv6 size 100k expire 30s store gpc0,gpc0_rate(10s)',
    '    http-request track-sc0 src,ipmask(32,64)',
    '    # Before a decision by path: an application reads /%61dmin, //admin and /.\\admin as /admin.',
    `    # ${refuseAmbiguousPaths}`,
    ...(signIn ? ['    use_backend entra-sign-in if { path_beg /oauth2/ }'] : []),
    ...metadataPaths.map((path) => `    use_backend entra-metadata if { path ${quoteWord(path)} }`),
    ...(policies.length === 1 && only !== undefined
      ? [`    default_backend ${only}`]
      : [
          '    # CHANGE: the host of each application. By host, not by path. Another host gets 503.',
          ...backends.map(
            (name) =>
              `    use_backend ${name} if { req.hdr(host),host_only -m str -i ${hostOf(name)}.example.com }`,
          ),
        ]),
  ]
}

function backendLines(policy: string, backend: string, hasSessions: boolean): string[] {
  return [
    `backend ${backend}`,
    '    mode http',
    '    log global',
    '    # What an earlier action on this request said must not count for this one.',
    '    http-request unset-var(txn.entra.ok)',
    ...fastLane(policy),
    '    # Nothing ends the action early but an error, or a client that goes away during a call: a bad token.',
    '    http-request sc-inc-gpc0(0) if { var(txn.entra.ok) -m found } !{ var(txn.entra.ok) -m bool }',
    '    # An action that fails lets the request through, so this line belongs to the one above.',
    '    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }',
    ...(hasSessions ? removeSessionCookies : []),
    '    # The application does not need the token; without it, caches would give the answer to others.',
    '    # Both lines or neither, see "Caching answers" in haproxy-lua/README.md:',
    '    # http-request del-header authorization',
    '    # http-after-response add-header cache-control private',
    '    # CHANGE: the application',
    `    server app ${applicationServer}`,
  ]
}

/** Variables whose values stand behind the headers of a hit, from the last one on. */
const hitFields = ['token_id', 'actor', 'client', 'tenant', 'user']

/**
 * The action, and from HAProxy 3.4 on what spares it for allows in the cache: the converter returns
 * their headers with the identity behind them, or nothing. What is the same for each hit of a policy
 * is a constant, which costs HAProxy less than a look into the value.
 */
function fastLane(policy: string): string[] {
  const hit = 'var(txn.entra.hit)'
  const sharedKey = 'req.fhdr(authorization),sha2(256),base64,concat(,txn.entra.hit)'
  const constants = [
    ['status', 'int(200)'],
    ['policy', `str(${policy})`],
    ['cache', 'str(hit)'],
    ['ms', 'int(0)'],
  ]
  return [
    '    # From HAProxy 3.4 on, an allow in the cache needs no action.',
    '    .if !version_atleast(3.4) || !feature(OPENSSL) || streq("$ENTRA_AUTH_FAST_LANE","off")',
    `    http-request lua.entra-auth ${policy}`,
    '    .else',
    '    http-request unset-var(txn.entra.hit)',
    '    http-request unset-var(txn.entra.reason)',
    `    http-request set-var(txn.entra.hit) req.hdrs,lua.entra-auth-hit(${policy},shared)`,
    `    http-request set-var(txn.entra.hit) ${sharedKey},lua.entra-auth-shared(${policy}) if { ${hit} -m beg -- - }`,
    `    http-request set-var(txn.entra.ok) ${hit},ltrim(-0123456789),length,bool`,
    `    http-request add-headers-bin ${hit} if { var(txn.entra.ok) -m bool }`,
    ...constants.map(
      ([name, value]) =>
        `    http-request set-var(txn.entra.${name}) ${value} if { var(txn.entra.ok) -m bool }`,
    ),
    ...hitFields
      .map(
        (name, index) =>
          `    http-request set-var(txn.entra.${name}) ${hit},field(-${index + 1},|)`,
      )
      .reverse(),
    `    http-request lua.entra-auth ${policy} unless { var(txn.entra.ok) -m bool }`,
    '    .endif',
  ]
}

const metricsLines = [
  '# What the action counted, for Prometheus; on this machine only.',
  'frontend entra-metrics',
  `    bind ${variable('ENTRA_AUTH_METRICS_BIND', '127.0.0.1:9101')}`,
  '    mode http',
  '    http-request use-service lua.entra-auth-metrics if { path /metrics } { method GET }',
  '    http-request deny deny_status 404',
]

/** Verified TLS to the verifier: the name is the one in its address, where that is a name. */
function tlsWords(verifier: string): string {
  const host = verifier.replace(/:\d+$/, '')
  const name = /^[\d.]+$|^\[/.test(host) ? 'verifier.internal' : host
  const authority = variable('ENTRA_AUTH_CA_FILE', '/etc/haproxy/verifier-ca.pem')
  return ` ssl verify required ca-file ${authority} verifyhost ${variable('ENTRA_AUTH_VERIFIER_NAME', name)}`
}

function metadataLines(verifier: string, isTls: boolean): string[] {
  return [
    '# RFC 9728: where clients read which token this API wants. Exactly these paths, GET only.',
    'backend entra-metadata',
    '    mode http',
    '    log global',
    '    http-request deny deny_status 405 unless { method GET }',
    '    http-request deny deny_status 400 if { req.fhdr(content-length) -m found } or { req.fhdr(transfer-encoding) -m found }',
    '    http-request del-header authorization',
    '    http-request del-header cookie',
    '    http-request del-header upgrade',
    '    http-request del-header connection',
    '    timeout server 2s',
    `    server v1 ${quoteWord(verifier)}${isTls ? tlsWords(verifier) : ''} track entra-verifier/v1`,
  ]
}

const ownSections = ['entra-verifier', 'entra-metadata', 'entra-metrics', 'entra-sign-in', 'www']

/**
 * Policy → name of its backend: the same, unless a section of this configuration has it already. Even
 * a frontend and a backend of one name are too much for HAProxy from 3.2 on.
 */
function backendNames({ policies }: Config): ReadonlyMap<string, string> {
  const taken = new Set([...ownSections, ...policies.map(({ name }) => name)])
  return new Map(
    policies.map(({ name }) => {
      let free = name
      while (ownSections.includes(name) && taken.has(free)) free += '-app'
      taken.add(free)
      return [name, free]
    }),
  )
}

/** HAProxy replaces variables between double quotes only. */
function variable(name: string, fallback?: string): string {
  return `"\${${name}${fallback === undefined ? '' : `-${fallback}`}}"`
}

/** A word as HAProxy reads it back: between double quotes where a character means something. */
function quoteWord(word: string): string {
  if (/^[\w./:@%+,~[\]-]+$/.test(word)) return word
  return `"${word.replace(/[\\"$]/g, '\\$&')}"`
}
