// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes its variables as ${NAME}, and those are what is read here
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Config } from '../../src/config/config.ts'
import { findingCodes } from '../../src/drift/finding.ts'
import { refuseAmbiguousPaths } from '../../src/haproxy/plain-path.ts'
import { configOf } from '../config/fixture.ts'
import { checkWithHaproxy } from '../haproxy-config/haproxy-check.ts'
import { cleanConfig, fixture, haproxyFindings, replaced, shown } from './fixture.ts'

const clean = fixture('clean.cfg')

/** Pieces of the clean file, and what stands there instead. */
type Changes = readonly (readonly [piece: string, by: string])[]

function changed(changes: Changes): string {
  return changes.reduce((text, [piece, by]) => replaced(text, piece, by), clean)
}

const action = '    http-request lua.entra-auth orders # the policy\n'
const ordersGuard = `${action}    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }\n`
const withGuard = (guard: string): Changes => [[ordersGuard, `${action}${guard}`]]
const before = (line: string): Changes => [[action, `    ${line}\n${action}`]]
const route = '    use_backend stock if { req.hdr(host) -i stock.example.com }\n'
const stripping =
  '    http-request del-header ^x[^a-z0-9]auth[^a-z0-9]request -m reg\n    http-request del-header ^x[^a-z0-9]entra[^a-z0-9]auth -m reg\n'
const upgrade = '    http-request del-header upgrade unless is_one_upgrade is_websocket\n'
/** Frameworks take another method from these. */
const withoutOverride = 'http-request del-header ^x[^a-z0-9](http[^a-z0-9])?method -m reg'
const guard = '    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }\n'
const refusedConnect = '    http-request deny deny_status 405 if { method CONNECT }\n'
const cache = 'cache small\n    total-max-size 4\n    max-age 60\n\n'
const refusedPaths =
  '    http-request deny deny_status 400 if { path_sub // /./ /../ ; \\\\ % \\# } or { path_end /. /.. }\n'
const limits =
  '    tcp-response inspect-delay 1s\n    tcp-response content reject if { status lt 200 }\n    http-response wait-for-body time 1s\n    http-response deny deny_status 502 if { res.body_size gt 12288 }\n'
const connection = '    http-request del-header connection\n'

interface Row {
  readonly name: string
  readonly changes: Changes
  readonly found: readonly string[]
  /** Default: the clean one. */
  readonly config?: Config
  /** HAProxy refuses this file by itself. */
  readonly unloadable?: true
}

const rows: readonly Row[] = [
  // Global section
  {
    name: 'no zero-warning',
    changes: [['    zero-warning\n', '']],
    found: ['zero-warning-missing at global'],
  },
  {
    name: 'no noreuseport',
    changes: [['    noreuseport\n', '']],
    found: ['noreuseport-missing at global'],
  },
  {
    name: 'a quote that is not closed',
    changes: [["'a # that starts no comment'", "'a # that starts no comment"]],
    found: ["haproxy-syntax at http-request set-header x-note 'a # that starts no comment"],
    unloadable: true,
  },
  // Mode
  {
    name: 'a backend whose own mode is tcp',
    changes: [['\nbackend orders\n', '\nbackend orders\n    mode tcp\n']],
    found: ['mode-not-http at backend orders'],
    unloadable: true,
  },
  {
    name: 'a mode that comes from named defaults',
    changes: [
      ['\nbackend orders\n', '\nbackend orders from other\n'],
      [
        'frontend www\n',
        'defaults other\n    timeout connect 5s\n    timeout server 30s\n\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n\nfrontend www\n',
      ],
    ],
    found: ['mode-not-http at backend orders from other'],
    unloadable: true,
  },
  // Action
  {
    name: 'a backend without the action',
    changes: [
      [ordersGuard, ''],
      ["    http-request set-header x-note 'a # that starts no comment'\n", ''],
    ],
    found: ['action-missing at backend orders', 'policy-unused at policy orders'],
  },
  {
    name: 'a listen section without the action',
    changes: [
      [
        'backend stock\n',
        'listen open\n    bind 127.0.0.1:8001\n    timeout client 5s\n    server app 127.0.0.1:3009\n\nbackend stock\n',
      ],
    ],
    found: ['action-missing at listen open'],
  },
  {
    name: 'an action with a condition that the guard shares',
    changes: [
      [
        ordersGuard,
        '    http-request lua.entra-auth orders if METH_GET\n    http-request deny unless { var(txn.entra.ok) -m bool } or !METH_GET\n',
      ],
    ],
    found: ['action-conditional at http-request lua.entra-auth orders if METH_GET'],
  },
  {
    name: 'policies by method, where a client may send another one',
    changes: [
      [
        action,
        '    http-request del-header x-http-method-override\n    http-request del-header x-http-method\n    http-request lua.entra-auth orders if METH_GET\n    http-request lua.entra-auth stock unless METH_GET\n',
      ],
    ],
    found: ['method-override at http-request lua.entra-auth orders if METH_GET'],
  },
  {
    name: 'routes by method, where a client may send another one',
    changes: [['    default_backend', '    use_backend orders if METH_GET\n    default_backend']],
    found: ['method-override at use_backend orders if METH_GET'],
  },
  ...[
    'stats socket ipv4@0.0.0.0:9999 level admin',
    'stats socket :9999',
    'stats socket 10.0.0.1:9999 level operator',
    'stats socket /run/haproxy.sock,*:9999 level admin',
  ].map((line) => ({
    name: `a command socket for the network: ${line}`,
    changes: [['    zero-warning\n', `    zero-warning\n    ${line}\n`]] as Changes,
    found: [`socket-open at ${line}`],
  })),
  {
    name: 'no guard',
    changes: withGuard(''),
    found: ['guard-missing at http-request lua.entra-auth orders # the policy'],
  },
  {
    name: 'the guard before the action',
    changes: [
      [
        ordersGuard,
        `    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }\n${action}`,
      ],
    ],
    found: ['guard-missing at http-request lua.entra-auth orders # the policy'],
  },
  {
    name: 'a guard in a comment',
    changes: withGuard('    # http-request deny unless { var(txn.entra.ok) -m bool }\n'),
    found: ['guard-missing at http-request lua.entra-auth orders # the policy'],
  },
  ...[
    // True also after a refusal: the variable exists with the value false.
    'http-request deny unless { var(txn.entra.ok) -m found }',
    'http-request deny unless { var(txn.entra.ok) -m bool } or METH_GET',
    'http-request deny unless { var(txn.entra.ok) -m bool false }',
    'http-request deny if !{ var(txn.entra.ok) -m bool } METH_POST',
    'http-request deny if { var(txn.entra.ok) -m bool }',
    'http-request deny unless !{ var(txn.entra.ok) -m bool }',
    'http-request deny if { var(txn.entra.reason) -m found }',
  ].map((guard) => ({
    name: `a guard that lets some through: ${guard}`,
    changes: withGuard(`    ${guard}\n`),
    found: [`guard-weak at ${guard}`],
  })),
  {
    name: 'a guard that is no refusal',
    changes: withGuard('    http-request return status 200 unless { var(txn.entra.ok) -m bool }\n'),
    found: ['guard-missing at http-request lua.entra-auth orders # the policy'],
  },
  {
    name: 'allow before the action',
    changes: before('http-request allow if METH_OPTIONS'),
    found: ['early-allow at http-request allow if METH_OPTIONS'],
  },
  {
    name: 'allow between action and guard',
    changes: [[action, `${action}    http-request allow if METH_HEAD\n`]],
    found: ['early-allow at http-request allow if METH_HEAD'],
  },
  ...[
    'http-request return status 200 if { path /x }',
    'http-request redirect location / if { path /x }',
  ].map((line) => ({
    name: `an answer before the action: ${line}`,
    changes: before(line),
    found: [`early-answer at ${line}`],
  })),
  {
    name: 'observing without a rule',
    changes: [[ordersGuard, '    http-request lua.entra-auth-observe orders\n']],
    found: ['observe-unused at http-request lua.entra-auth-observe orders'],
  },
  {
    name: 'observing with a rule that only asks whether the variable exists',
    changes: [
      [
        ordersGuard,
        '    http-request lua.entra-auth-observe orders\n    http-request deny if !{ var(txn.entra.ok) -m found }\n',
      ],
    ],
    found: ['observe-unused at http-request lua.entra-auth-observe orders'],
  },
  // Headers of the client
  { name: 'no stripping', changes: [[stripping, '']], found: ['strip-missing at frontend www'] },
  ...[
    'http-request del-header x-auth-request- -m beg',
    'http-request del-header ^x[-_]auth[-_]request -m reg',
    'http-request del-header ^X-Auth-Request -m reg',
    'http-request del-header ^x.auth.request -m reg if METH_GET',
    'http-request del-header x-auth-request-user',
    'http-request set-header x-auth-request-user none',
  ].map((line) => ({
    name: `stripping that leaves some: ${line}`,
    changes: [
      ['    http-request del-header ^x[^a-z0-9]auth[^a-z0-9]request -m reg\n', `    ${line}\n`],
    ] as const,
    found: ['strip-missing at frontend www'],
  })),
  {
    name: 'stripping that an allow can skip',
    changes: [[stripping, `    http-request allow if METH_GET\n${stripping}`]],
    found: [
      'strip-missing',
      'upgrade-unprotected',
      'connection-unprotected',
      'connect-unprotected',
    ].map((code) => `${code} at frontend www`),
  },
  {
    name: 'stripping in one of two frontends',
    changes: [
      [
        '\nbackend orders\n',
        '\nfrontend second\n    bind 127.0.0.1:8002\n    http-request deny if METH_CONNECT\n    http-request del-header upgrade\n    http-request del-header connection\n    default_backend orders\n\nbackend orders\n',
      ],
    ],
    found: ['strip-missing at frontend second'],
  },
  {
    name: 'stripping after the action',
    changes: [[ordersGuard, `${ordersGuard}    http-request del-header x-auth-request-user\n`]],
    found: ['strip-after-action at http-request del-header x-auth-request-user'],
  },
  {
    name: 'no upgrade protection',
    changes: [[upgrade, '']],
    found: ['upgrade-unprotected at frontend www'],
  },
  {
    name: 'upgrades to anything',
    changes: [
      [upgrade, '    http-request del-header upgrade unless { req.hdr(upgrade) -m found }\n'],
    ],
    found: ['upgrade-unprotected at frontend www'],
  },
  {
    name: 'no connection protection',
    changes: [[connection, '']],
    found: ['connection-unprotected at frontend www'],
  },
  {
    name: 'connection kept for upgrades and not overwritten',
    changes: [
      [
        connection,
        '    http-request del-header connection unless { req.hdr(upgrade) -m str websocket }\n',
      ],
      ['    http-request set-header connection upgrade if { req.hdr(upgrade) -m found }\n', ''],
    ],
    found: ['connection-unprotected at frontend www'],
  },
  // Paths
  {
    name: 'backends by path',
    changes: [[route, '    use_backend stock if { path_beg /stock }\n']],
    found: ['path-ambiguous at use_backend stock if { path_beg /stock }'],
  },
  {
    name: 'backends by a named path ACL and a variable',
    changes: [
      [
        route,
        '    http-request set-var(txn.where) path,lower\n    acl is_stock var(txn.where) -m beg /stock\n    use_backend stock if is_stock\n',
      ],
    ],
    found: ['path-ambiguous at use_backend stock if is_stock'],
  },
  {
    name: 'backends by a map on the path',
    changes: [[route, '    use_backend %[base,map_beg(/etc/haproxy/none.map)]\n']],
    found: ['path-ambiguous at use_backend %[base,map_beg(/etc/haproxy/none.map)]'],
    unloadable: true,
  },
  {
    name: 'backends by path whose escaped dots come out after the dots are gone',
    changes: [
      ['    noreuseport\n', '    noreuseport\n    expose-experimental-directives\n'],
      [
        route,
        '    http-request normalize-uri path-merge-slashes\n    http-request normalize-uri path-strip-dot\n    http-request normalize-uri path-strip-dotdot full\n    http-request normalize-uri percent-decode-unreserved\n    use_backend stock if { path_beg /stock }\n',
      ],
    ],
    found: ['path-ambiguous at use_backend stock if { path_beg /stock }'],
  },
  {
    name: 'backends by path with normalised paths: a backslash is left as it is',
    changes: [
      ['    noreuseport\n', '    noreuseport\n    expose-experimental-directives\n'],
      [
        route,
        '    http-request normalize-uri percent-decode-unreserved\n    http-request normalize-uri path-merge-slashes\n    http-request normalize-uri path-strip-dot\n    http-request normalize-uri path-strip-dotdot full\n    use_backend stock if { path_beg /stock }\n',
      ],
    ],
    found: ['path-ambiguous at use_backend stock if { path_beg /stock }'],
  },
  {
    name: 'backends by path for one application',
    changes: [
      [route, '    use_backend stock if { path_beg /stock }\n'],
      ['server app 127.0.0.1:3001', 'server app 127.0.0.1:3000'],
    ],
    found: ['path-bypass at use_backend stock if { path_beg /stock }'],
  },
  {
    name: 'policies by path in one backend',
    changes: [
      [
        action,
        '    http-request lua.entra-auth stock if { path_beg /stock }\n    http-request lua.entra-auth orders unless { path_beg /stock }\n',
      ],
    ],
    found: ['path-bypass at http-request lua.entra-auth stock if { path_beg /stock }'],
  },
  {
    name: 'policies by path with only some ambiguous paths refused',
    changes: [
      [
        action,
        '    http-request deny if { path_sub // % }\n    http-request lua.entra-auth stock if { path_beg /stock }\n    http-request lua.entra-auth orders unless { path_beg /stock }\n',
      ],
    ],
    found: ['path-bypass at http-request lua.entra-auth stock if { path_beg /stock }'],
  },
  // The verifier's section
  {
    name: 'no section for the verifier',
    changes: [
      [
        'listen entra-verifier\n    bind "${ENTRA_AUTH_VERIFIER}"\n    option httpchk GET /readyz\n    timeout connect 200ms\n    timeout server 1s\n' +
          limits +
          '    server v1 127.0.0.1:8080 check\n',
        '',
      ],
      [
        '    use_backend entra-metadata if { path /.well-known/oauth-protected-resource/orders }\n',
        '',
      ],
      [
        'backend entra-metadata\n    http-request deny deny_status 405 unless METH_GET\n    http-request del-header authorization\n    server v1 127.0.0.1:8080 track entra-verifier/v1\n',
        '',
      ],
    ],
    found: ['verifier-missing at http-request lua.entra-auth orders # the policy'],
  },
  {
    name: 'another port than the action calls',
    changes: [['bind "${ENTRA_AUTH_VERIFIER}"', 'bind 127.0.0.1:14481']],
    found: ['verifier-missing at listen entra-verifier'],
  },
  ...[
    '*:14480',
    ':14480',
    '127.0.0.1:14480,10.0.0.1:14480',
    'ipv4@0.0.0.0:14480',
    '[::]:14480',
  ].map((address) => ({
    name: `the section bound to ${address}`,
    changes: [['bind "${ENTRA_AUTH_VERIFIER}"', `bind ${address}`]] as const,
    found: [`verifier-public at bind ${address}`],
  })),
  {
    name: 'a rule that turns the question into one about another policy',
    changes: [[limits, `${limits}    http-request set-path /verify/stock\n`]],
    found: ['verifier-changed at http-request set-path /verify/stock'],
  },
  {
    name: 'a token of the configuration in front of the action',
    changes: before('http-request set-header authorization "Bearer abc"'),
    found: ['credentials-written at http-request set-header authorization "Bearer abc"'],
  },
  {
    name: 'a rule that only the environment knows',
    changes: [[route, `    "\${RULE}" allow if { path /x }\n${route}`]],
    found: ['rule-unknown at "${RULE}" allow if { path /x }'],
    unloadable: true,
  },
  {
    name: 'clients that become servers',
    changes: [[route, `    tcp-request session attach-srv orders/app\n${route}`]],
    found: ['server-attached at tcp-request session attach-srv orders/app'],
    unloadable: true,
  },
  {
    name: 'clients routed to the section',
    changes: [[route, `${route}    use_backend entra-verifier if { path /verify }\n`]],
    found: ['verifier-routed at use_backend entra-verifier if { path /verify }'],
  },
  {
    name: 'a backend whose name the client gives',
    changes: [[route, `${route}    use_backend %[req.hdr(x-backend)]\n`]],
    found: [
      'metadata-open at use_backend %[req.hdr(x-backend)]',
      'verifier-routed at use_backend %[req.hdr(x-backend)]',
    ],
  },
  ...[
    'if { path_beg /.well-known/oauth-protected-resource }',
    'if { path /.well-known/oauth-protected-resource/orders } or METH_GET',
    'unless { path /.well-known/oauth-protected-resource/orders }',
    'if { path /verify/orders }',
  ].map((condition) => ({
    name: `metadata ${condition}`,
    changes: [
      [
        'use_backend entra-metadata if { path /.well-known/oauth-protected-resource/orders }',
        `use_backend entra-metadata ${condition}`,
      ],
    ] as const,
    found: [`metadata-open at use_backend entra-metadata ${condition}`],
  })),
  {
    name: 'no check of the kind HTTP',
    changes: [['    option httpchk GET /readyz\n', '']],
    found: ['verifier-unchecked at listen entra-verifier'],
  },
  {
    name: 'a server without check',
    changes: [
      ['server v1 127.0.0.1:8080 check', 'server v1 127.0.0.1:8080'],
      [' track entra-verifier/v1', ''],
    ],
    found: ['verifier-unchecked at server v1 127.0.0.1:8080'],
  },
  {
    name: 'the long timeouts of the defaults',
    changes: [['    timeout connect 200ms\n    timeout server 1s\n', '']],
    found: ['verifier-slow at listen entra-verifier', 'verifier-slow at listen entra-verifier'],
  },
  {
    name: 'a long timeout of its own',
    changes: [['    timeout server 1s\n', '    timeout server 20000\n']],
    found: ['verifier-slow at timeout server 20000'],
  },
  ...['10.0.0.11:8080 check', '10.0.0.11:8443 check ssl verify none'].map((server) => ({
    name: `the verifier at ${server}`,
    changes: [['server v1 127.0.0.1:8080 check', `server v1 ${server}`]] as const,
    found: [`verifier-plaintext at server v1 ${server}`],
  })),
  {
    name: 'plain HTTP to a verifier with TLS',
    changes: [],
    config: {
      ...cleanConfig,
      listen: { ...cleanConfig.listen, tls: { certificate: '', key: '', notAfterMs: 0 } },
    },
    found: [
      'verifier-tls-missing at server v1 127.0.0.1:8080 check',
      'verifier-tls-missing at server v1 127.0.0.1:8080 track entra-verifier/v1',
    ],
  },
  // Policies
  {
    name: 'a policy in another letter case',
    changes: [[action, action.replace('auth orders', 'auth Orders')]],
    found: [
      'policy-unknown at http-request lua.entra-auth Orders # the policy',
      'policy-unused at policy orders',
    ],
  },
  {
    name: 'a backend whose name is no policy',
    changes: [
      ['backend stock\n', 'backend warehouse\n'],
      [route, ''],
    ],
    found: [
      'policy-unknown at http-request lua.entra-auth-backend',
      'strip-missing',
      'upgrade-unprotected',
      'connection-unprotected',
      'connect-unprotected',
      'backend-unreached',
      'policy-unused at policy stock',
    ].map((one) => (one.includes(' at ') ? one : `${one} at backend warehouse`)),
  },
  {
    name: 'a backend with the action that no frontend leads to',
    changes: [
      [
        'backend site\n',
        `backend forgotten\n    mode http\n    http-request lua.entra-auth orders\n${guard}    server app 127.0.0.1:3009\n\nbackend site\n`,
      ],
    ],
    found: [
      'backend-unreached',
      'strip-missing',
      'upgrade-unprotected',
      'connection-unprotected',
      'connect-unprotected',
    ].map((one) => `${one} at backend forgotten`),
  },
  {
    name: 'a policy that only the environment knows',
    changes: [[action, action.replace('auth orders', 'auth "${POLICY}"')]],
    found: [
      'policy-unknown at http-request lua.entra-auth "${POLICY}" # the policy',
      'policy-unused at policy orders',
    ],
    unloadable: true,
  },
  // Ways past the action
  {
    name: 'the default sizes of buffers',
    changes: [['    tune.bufsize 32768\n    tune.maxrewrite 12288\n', '']],
    found: ['buffers-small at global'],
  },
  {
    name: 'one size of buffers that is left at its default',
    changes: [['    tune.maxrewrite 12288\n', '']],
    found: ['buffers-small at global'],
  },
  ...[
    '    http-request deny if METH_TRACE\n',
    '    http-request deny if { method CONNECT } { src 10.0.0.0/8 }\n',
    '    http-request redirect location / if METH_CONNECT\n',
    '    http-request deny unless { method CONNECT }\n',
  ].map((line) => ({
    name: `CONNECT that is passed on: ${line.trim()}`,
    changes: [[refusedConnect, line]] as const,
    found: ['connect-unprotected at frontend www'],
  })),
  {
    name: 'a second action that may still find the verdict of the first',
    changes: [[route, `${ordersGuard}${route}`]],
    found: [
      'verdict-stale at http-request lua.entra-auth orders # the policy',
      'verdict-stale at http-request lua.entra-auth-backend',
    ],
  },
  {
    name: 'two actions of which both may run',
    changes: [
      [
        action,
        '    http-request lua.entra-auth stock\n    http-request lua.entra-auth orders if METH_GET\n',
      ],
    ],
    found: [
      'method-override at http-request lua.entra-auth orders if METH_GET',
      'verdict-stale at http-request lua.entra-auth orders if METH_GET',
    ],
  },
  ...[
    'http-request set-var(txn.entra.ok) bool(true) if { src 10.0.0.0/8 }',
    'http-request set-var-fmt(txn.entra.user) %[req.hdr(x-user)]',
    'http-request set-header x-a %[bool(true),set-var(txn.entra.ok)]',
  ].map((line) => ({
    name: `a rule that writes what the guard reads: ${line}`,
    changes: before(line),
    found: [`verdict-written at ${line}`],
  })),
  {
    name: 'a rule of TCP that writes what the guard reads',
    changes: [
      [
        stripping,
        `    tcp-request content set-var(txn.auth_response_successful) bool(true)\n${stripping}`,
      ],
    ],
    found: [
      'verdict-written at tcp-request content set-var(txn.auth_response_successful) bool(true)',
    ],
    unloadable: true,
  },
  ...[
    'set-header X-Auth-Request-User %[req.hdr(X-Forwarded-User)]',
    'add-header x-auth-request-user admin',
    'replace-header X-Auth-Request-User (.*) \\1x',
    'replace-value X_Auth_Request_User a b',
    'set-header X-Auth-Request-User %[var(txn.entra.user)]%[req.hdr(x-more)]',
  ].map((line) => ({
    name: `a rule behind the action that writes an identity header: ${line}`,
    changes: [[ordersGuard, `${ordersGuard}    http-request ${line}\n`]] as const,
    found: [`identity-overwritten at http-request ${line}`],
  })),
  {
    name: 'a rule before the action that writes another spelling, which the action leaves alone',
    changes: before('http-request set-header X_Auth_Request_User %[req.hdr(x-user)]'),
    found: [
      'identity-overwritten at http-request set-header X_Auth_Request_User %[req.hdr(x-user)]',
    ],
  },
  {
    name: 'a Lua action behind ours that is given an identity header',
    changes: [[ordersGuard, `${ordersGuard}    http-request lua.other X-Auth-Request-*\n`]],
    found: ['identity-overwritten at http-request lua.other X-Auth-Request-*'],
    unloadable: true,
  },
  {
    name: 'a Lua action behind ours of which nothing is known',
    changes: [[ordersGuard, `${ordersGuard}    http-request lua.other\n`]],
    found: ['identity-unclear at http-request lua.other'],
    unloadable: true,
  },
  {
    name: 'headers behind the action whose names no file has',
    changes: [[ordersGuard, `${ordersGuard}    http-request add-headers-bin var(txn.more)\n`]],
    found: ['identity-overwritten at http-request add-headers-bin var(txn.more)'],
    unloadable: true,
  },
  {
    name: 'headers that are left out where no room is',
    changes: [[route, `    http-request strict-mode off\n${route}`]],
    found: ['strict-mode-off at http-request strict-mode off'],
  },
  {
    name: 'a cache in front of the action, in the frontend',
    changes: [
      [route, `    http-request cache-use small\n${route}`],
      ['frontend www\n', `${cache}frontend www\n`],
    ],
    found: ['early-cache at http-request cache-use small'],
  },
  {
    name: 'a cache behind the removal of the token',
    changes: [
      [
        ordersGuard,
        `${ordersGuard}    http-request del-header authorization\n    http-request cache-use small\n    http-response cache-store small\n`,
      ],
      ['frontend www\n', `${cache}frontend www\n`],
    ],
    found: ['cache-shared at http-request del-header authorization'],
  },
  ...[
    'http-request return status 200 content-type text/plain string hello if { path /hello }',
    'http-request use-service lua.entra-auth-metrics if { path /metrics }',
  ].map((line) => ({
    name: `content from the frontend, before the action: ${line}`,
    changes: [[route, `    ${line}\n${route}`]] as const,
    found: [`early-answer at ${line}`],
  })),
  {
    name: 'a listen section in mode tcp to the same application',
    changes: [
      [
        'backend stock\n',
        'listen raw\n    mode tcp\n    bind 127.0.0.1:8004\n    server app ipv4@127.0.0.1:3000\n\nbackend stock\n',
      ],
    ],
    found: ['tcp-bypass at server app ipv4@127.0.0.1:3000'],
  },
  ...[
    ['dispatch 127.0.0.1:3009', 'dispatch 127.0.0.1:3009'],
    ['server-template a 1-3 127.0.0.1:3009', 'server-template a 1-3 127.0.0.1:3009'],
    ['balance roundrobin', 'no server yet'],
  ].map(([line, name]) => ({
    name: `a backend without the action: ${name}`,
    changes: [
      [ordersGuard, ''],
      ["    http-request set-header x-note 'a # that starts no comment'\n", ''],
      ['    server app 127.0.0.1:3000\n', `    ${line}\n`],
    ] as const,
    found: ['action-missing at backend orders', 'policy-unused at policy orders'],
    // `dispatch` warns from 3.3 on.
    unloadable: true as const,
  })),
  {
    name: 'requests accepted that are no valid HTTP',
    changes: [['frontend www\n', 'frontend www\n    option accept-invalid-http-request\n']],
    found: ['violations-accepted at frontend www'],
    // Newer versions warn that the option has another name.
    unloadable: true,
  },
  {
    name: 'policies by another reading of the host than the routes',
    changes: [
      [
        route,
        `    http-request lua.entra-auth stock if { req.hdr(host),host_only -i stock.example.com }\n    http-request lua.entra-auth orders unless { req.hdr(host),host_only -i stock.example.com }\n${guard}${route}`,
      ],
      [ordersGuard, ''],
      [`    http-request lua.entra-auth-backend\n${guard}`, ''],
    ],
    found: [
      'policy-mismatch at http-request lua.entra-auth stock if { req.hdr(host),host_only -i stock.example.com }',
      'policy-mismatch at http-request lua.entra-auth orders unless { req.hdr(host),host_only -i stock.example.com }',
    ],
  },
  {
    name: 'policies by the beginning of the host, and routes by all of it',
    changes: [
      [
        route,
        `    http-request lua.entra-auth stock if { hdr_beg(host) -i stock. }\n    http-request lua.entra-auth orders unless { hdr_beg(host) -i stock. }\n${guard}${route}`,
      ],
      [ordersGuard, ''],
      [`    http-request lua.entra-auth-backend\n${guard}`, ''],
    ],
    found: [
      'policy-mismatch at http-request lua.entra-auth stock if { hdr_beg(host) -i stock. }',
      'policy-mismatch at http-request lua.entra-auth orders unless { hdr_beg(host) -i stock. }',
    ],
  },
  {
    name: 'two policies for one application, chosen by a map on the path through variables',
    changes: [
      [
        route,
        '    http-request set-var(txn.p) path\n    http-request set-var(txn.m) var(txn.p),map_beg(/etc/haproxy/none.map)\n    use_backend %[var(txn.m)]\n',
      ],
      ['server app 127.0.0.1:3001', 'server app 127.0.0.1:3000'],
    ],
    found: ['path-bypass at use_backend %[var(txn.m)]'],
    unloadable: true,
  },
  {
    name: 'ambiguous paths of which one with a backslash is passed on',
    changes: [
      [
        route,
        '    http-request deny deny_status 400 if { path_sub // /./ /../ % } or { path_end /. /.. }\n    use_backend stock if { path_beg /stock }\n',
      ],
    ],
    found: ['path-ambiguous at use_backend stock if { path_beg /stock }'],
  },
  {
    name: 'public paths of an application by their beginning',
    changes: [
      [
        ordersGuard,
        '    acl public path_beg /auth/\n    http-request lua.entra-auth orders unless public\n    http-request deny unless public or { var(txn.entra.ok) -m bool }\n',
      ],
    ],
    found: ['path-bypass at http-request lua.entra-auth orders unless public'],
  },
  {
    name: 'a guard that is missing in one branch',
    changes: withGuard(`.if version_atleast(3.4)\n${guard}.endif\n`),
    found: ['guard-missing at http-request lua.entra-auth orders # the policy'],
  },
  {
    name: 'no limits on endless answers of the verifier',
    changes: [[limits, '']],
    found: ['verifier-unbounded at listen entra-verifier'],
  },
  {
    name: 'one limit less',
    changes: [['    http-response wait-for-body time 1s\n', '']],
    found: ['verifier-unbounded at listen entra-verifier'],
  },
  ...[
    ['', 'ssl verify required ca-file ca.pem'],
    ['    ssl-server-verify none\n', 'ssl'],
    ['    ssl-server-verify none\n', 'ssl verifyhost verifier.internal ca-file ca.pem'],
  ].map(([global, options]) => ({
    name: `TLS to the verifier that proves little: ${global?.trim()} ${options}`,
    changes: [
      ['    noreuseport\n', `    noreuseport\n${global}`],
      ['server v1 127.0.0.1:8080 check', `server v1 10.0.0.11:8443 check ${options}`],
    ] as const,
    found: [`verifier-plaintext at server v1 10.0.0.11:8443 check ${options}`],
    unloadable: true as const,
  })),
]

/** Other ways to write the same, in which nothing is to be found. */
const alike: readonly [name: string, changes: Changes][] = [
  [
    'servers that are in mode tcp because nothing says otherwise',
    [
      [
        '\nbackend orders\n',
        '\ndefaults\n    timeout connect 5s\n    timeout server 30s\n\nlisten ldap\n    bind 127.0.0.1:389\n    timeout client 5s\n    server l1 127.0.0.1:390\n\ndefaults\n    mode http\n    timeout connect 5s\n    timeout server 30s\n\nbackend orders\n',
      ],
    ],
  ],
  ['the clean file', []],
  ...[
    'http-request deny if !{ var(txn.entra.ok) -m bool }',
    'http-request deny if ! { var(txn.entra.ok) -m bool }',
    'http-request deny if METH_TRACE or !{ var(txn.entra.ok) -m bool }',
    'http-request deny unless { var(txn.entra.ok) -m bool } METH_GET',
    'http-request deny unless { var(txn.entra.ok) -m bool true }',
    'http-request deny unless { "var(txn.entra.ok)" -m bool }',
    'http-request return status 403 unless { var(txn.entra.ok) -m bool }',
    'http-request tarpit unless { var(txn.auth_response_successful) -m bool }',
    'acl ok var(txn.entra.ok) -m bool\n    http-request deny unless ok',
    'http-request deny',
  ].map((guard): [string, Changes] => [`the guard as: ${guard}`, withGuard(`    ${guard}\n`)]),
  ...[
    'stats socket /run/haproxy/admin.sock mode 660 level admin',
    'stats socket unix@/run/haproxy/admin.sock level admin',
    'stats socket 127.0.0.1:9999 level admin',
    'stats socket ipv6@[::1]:9999 level admin',
    'stats socket :9999 level user',
  ].map((line): [string, Changes] => [
    `a command socket that few can use: ${line}`,
    [['    zero-warning\n', `    zero-warning\n    ${line}\n`]],
  ]),
  [
    'two actions by method',
    [
      [
        action,
        `    ${withoutOverride}\n`.concat(
          '    http-request lua.entra-auth orders if METH_GET\n    http-request lua.entra-auth stock unless METH_GET\n',
        ),
      ],
    ],
  ],
  [
    'observing with a rule',
    [
      [
        ordersGuard,
        '    http-request lua.entra-auth-observe orders\n    http-request set-header x-guest 1 unless { var(txn.entra.ok) -m bool }\n',
      ],
    ],
  ],
  [
    'the action in the frontend',
    [
      [ordersGuard, ''],
      [route, `${ordersGuard}${route}`],
      [
        '    http-request lua.entra-auth-backend\n    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }\n',
        '    http-request unset-var(txn.entra.ok)\n    http-request lua.entra-auth stock\n    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }\n',
      ],
    ],
  ],
  [
    'the policy as a default of a variable',
    [[action, action.replace('auth orders', 'auth "${POLICY-orders}"')]],
  ],
  [
    'the policy from setenv',
    [
      [action, action.replace('auth orders', 'auth "$POLICY"')],
      ['    noreuseport\n', '    noreuseport\n    setenv POLICY orders\n'],
    ],
  ],
  [
    'stripping with one wider pattern',
    [[stripping, '    http-request del-header ^x[^a-z]+(auth|entra) -m reg\n']],
  ],
  [
    'stripping in the defaults of the frontend',
    [
      [stripping, ''],
      [
        'frontend www\n',
        `defaults strip\n    mode http\n    timeout client 30s\n${stripping}\ndefaults\n    mode http\n    timeout connect 5s\n    timeout server 30s\n\nfrontend www from strip\n`,
      ],
    ],
  ],
  ['stripping in a branch', [[stripping, `.if version_atleast(2.5)\n${stripping}.endif\n`]]],
  ['upgrades refused', [[upgrade, '    http-request deny if { req.hdr(upgrade) -m found }\n']]],
  [
    'connection as in two rules',
    [[connection, '    http-request del-header connection unless { req.hdr(upgrade) -m found }\n']],
  ],
  [
    'backends by path with ambiguous paths refused',
    [
      [
        route,
        '    http-request deny deny_status 400 if { path_sub // /./ /../ ; \\\\ % \\# } or { path_end /. /.. }\n    use_backend stock if { path_beg /stock }\n',
      ],
    ],
  ],
  [
    'backends by path with ambiguous paths refused as the documentation says',
    [[route, `    ${refuseAmbiguousPaths}\n    use_backend stock if { path_beg /stock }\n`]],
  ],
  [
    'backends by path with ambiguous paths refused by a pattern',
    [
      [
        route,
        "    http-request deny if { path_reg '//|[%;#]|\\\\|/\\.\\.?(/|$)' }\n    use_backend stock if { path_beg /stock }\n",
      ],
    ],
  ],
  [
    'backends by path with one policy',
    [
      [route, '    use_backend stock if { path_beg /stock }\n'],
      ['http-request lua.entra-auth-backend', 'http-request lua.entra-auth orders'],
      ['    use_backend site if { req.hdr(host) -i www.example.com }\n', ''],
    ],
  ],
  [
    'a database in mode tcp',
    [
      [
        '\nbackend orders\n',
        '\nlisten ldap\n    mode tcp\n    bind 127.0.0.1:389\n    timeout client 5s\n    server l1 127.0.0.1:390\n\nbackend orders\n',
      ],
    ],
  ],
  [
    'a socket file for the verifier',
    [['server v1 127.0.0.1:8080 check', 'server v1 /run/verifier.sock check']],
  ],
  [
    'TLS to the verifier',
    [
      [
        'server v1 127.0.0.1:8080 check',
        'server v1 10.0.0.11:8443 check ssl verify required ca-file ca.pem verifyhost verifier.internal',
      ],
    ],
  ],
  [
    'the metadata path refused in the backend',
    [
      [
        'use_backend entra-metadata if { path /.well-known/oauth-protected-resource/orders }',
        'use_backend entra-metadata if { path_beg /.well-known }',
      ],
      [
        '    http-request deny deny_status 405 unless METH_GET\n',
        '    http-request deny unless { path /.well-known/oauth-protected-resource/orders }\n',
      ],
    ],
  ],
  ...[
    'http-request redirect location /login unless { var(txn.entra.ok) -m bool }',
    'http-request return status 302 hdr location /login unless { var(txn.entra.ok) -m bool }',
  ].map((line): [string, Changes] => [`the guard as: ${line}`, withGuard(`    ${line}\n`)]),
  [
    'the same ACL on action, guard and route',
    [
      [ordersGuard, ''],
      [
        '    use_backend site if { req.hdr(host) -i www.example.com }\n',
        `    acl api path_beg /api\n    http-request lua.entra-auth orders if api\n    http-request deny if api !{ var(txn.entra.ok) -m bool }\n    use_backend orders if api\n`,
      ],
      ['    default_backend orders\n', '    default_backend site\n'],
      [route, refusedPaths],
      [`    http-request lua.entra-auth-backend\n${guard}`, '    http-request deny\n'],
    ],
  ],
  [
    'a frontend that only redirects to https',
    [
      [
        'backend stock\n',
        'frontend plain\n    bind 127.0.0.1:8005\n    http-request redirect scheme https unless { ssl_fc }\n    default_backend orders\n\nbackend stock\n',
      ],
    ],
  ],
  [
    'a frontend whose line redirect goes to https',
    [
      [
        'backend stock\n',
        'frontend plain\n    bind 127.0.0.1:8005\n    redirect scheme https if !{ ssl_fc }\n    default_backend orders\n\nbackend stock\n',
      ],
    ],
  ],
  [
    'names of headers restricted, and stripping by their beginning',
    [
      [
        stripping,
        '    option http-restrict-req-hdr-names delete\n    http-request del-header x-auth-request- -m beg\n    http-request del-header x-entra-auth- -m beg\n',
      ],
    ],
  ],
  [
    'a pattern without regard to letter case',
    [
      [
        stripping,
        '    http-request del-header (?i)^X[^a-z0-9](auth[^a-z0-9]request|ENTRA[^a-z0-9]auth) -m reg\n',
      ],
    ],
  ],
  [
    'a backend by a map on the host, through variables',
    [
      [
        route,
        '    http-request set-var(txn.h) req.hdr(host),field(1,:),lower\n    http-request set-var(txn.m) var(txn.h),map(/etc/haproxy/none.map)\n    use_backend %[var(txn.m)]\n',
      ],
    ],
  ],
  [
    'a second action after unset-var',
    [
      [
        `    http-request lua.entra-auth-backend\n`,
        '    http-request unset-var(txn.entra.ok)\n    http-request lua.entra-auth-backend\n',
      ],
      [ordersGuard, `    http-request unset-var(txn.entra.ok)\n${ordersGuard}`],
      [route, `    http-request lua.entra-auth orders\n${guard}${route}`],
      // The public site is behind the action as well.
    ],
  ],
  [
    'a whole path that is public',
    [
      [
        ordersGuard,
        '    acl public path /healthz\n    http-request lua.entra-auth orders unless public\n    http-request deny unless public or { var(txn.entra.ok) -m bool }\n',
      ],
    ],
  ],
  [
    'an identity header that hands on what the action said',
    [
      [
        ordersGuard,
        `${ordersGuard}    http-request set-header X-Auth-Request-User %[var(txn.entra.user)]\n`,
      ],
    ],
  ],
  [
    'CONNECT refused by a list of methods',
    [[refusedConnect, '    http-request deny unless { method GET HEAD POST PUT }\n']],
  ],
]

/** What some of them show beside the point. */
const besideThePoint: Readonly<Record<string, readonly string[]>> = {
  'backends by path with one policy': ['policy-unused at policy stock'],
  'the same ACL on action, guard and route': ['policy-unused at policy stock'],
}

describe('drift in a HAProxy configuration', () => {
  for (const { name, changes, found, config } of rows) {
    it(`finds ${name}`, () => {
      const text = changed(changes)
      assert.deepEqual(
        haproxyFindings(text, config)
          .map((one) => shown(one, text))
          .toSorted(),
        found.toSorted(),
      )
    })
  }

  for (const [name, changes] of alike) {
    it(`finds nothing in ${name}`, () => {
      const text = changed(changes)
      assert.deepEqual(
        haproxyFindings(text).map((one) => shown(one, text)),
        besideThePoint[name] ?? [],
      )
    })
  }

  it('has a row for every code about HAProxy', () => {
    const tested = new Set(rows.flatMap(({ found }) => found.map((one) => one.split(' ')[0])))
    // sign-in.test.ts has those about sign-in, whose configuration is another one.
    const own = findingCodes
      .slice(0, findingCodes.indexOf('scope-missing'))
      .filter((code) => !/^(sign-in-|session-)/.test(code))
    assert.deepEqual(
      own.filter((code) => !tested.has(code)),
      [],
    )
  })

  it('looks at files that HAProxy itself accepts', { timeout: 120_000 }, async () => {
    const loadable = [
      ...rows
        .filter(({ unloadable }) => !unloadable)
        .map(({ name, changes }) => [name, changes] as const),
      ...alike.filter(([name]) => !/^(TLS to the verifier|a backend by a map)/.test(name)),
    ]
    for (const [name, changes] of loadable) {
      const { problem } = await checkWithHaproxy(changed(changes))
      assert.equal(problem, '', name)
    }
  })

  it('follows the header set of the configuration', async () => {
    const config = await configOf(
      `identityHeaders: { X-Shop-User: oid }\n${fixture('config.yaml')}`,
    )
    assert.match(haproxyFindings(clean, config)[0]?.message ?? '', /: x-shop-user$/)
    const own = replaced(clean, '^x[^a-z0-9]auth[^a-z0-9]request', '^x[^a-z0-9]shop')
    assert.deepEqual(haproxyFindings(own, config), [])
  })

  it('names the spellings that pass', () => {
    const text = changed([['^x[^a-z0-9]auth[^a-z0-9]request', '^x-auth-request']])
    assert.match(haproxyFindings(text)[0]?.message ?? '', /x_auth_request_user, .*and 8 more$/)
  })

  it('takes a finding out only where the section says so', () => {
    const moved = changed([
      ['    # drift: ignore action-missing (a public site)\n', ''],
      ['backend stock\n', 'backend stock\n    # drift: ignore action-missing\n'],
    ])
    assert.deepEqual(
      haproxyFindings(moved).map((one) => shown(one, moved)),
      ['action-missing at backend site'],
    )
  })
})
