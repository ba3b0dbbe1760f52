// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes its variables as ${NAME}, and those are what is read here
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Config } from '../../src/config/config.ts'
import { findingCodes } from '../../src/drift/finding.ts'
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
const upgrade = '    http-request del-header upgrade unless is_websocket\n'
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
  {
    name: 'servers that are in mode tcp only because nothing says otherwise',
    changes: [
      [
        '\nbackend orders\n',
        '\ndefaults\n    timeout connect 5s\n    timeout server 30s\n\nlisten ldap\n    bind 127.0.0.1:389\n    server l1 127.0.0.1:390\n\ndefaults\n    mode http\n    timeout connect 5s\n    timeout server 30s\n\nbackend orders\n',
      ],
    ],
    found: ['mode-not-http at listen ldap'],
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
    found: ['strip-missing', 'upgrade-unprotected', 'connection-unprotected'].map(
      (code) => `${code} at frontend www`,
    ),
  },
  {
    name: 'stripping in one of two frontends',
    changes: [
      [
        '\nbackend orders\n',
        '\nfrontend second\n    bind 127.0.0.1:8002\n    http-request del-header upgrade\n    http-request del-header connection\n    default_backend orders\n\nbackend orders\n',
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
        'listen entra-verifier\n    bind "${ENTRA_AUTH_VERIFIER}"\n    option httpchk GET /readyz\n    timeout connect 200ms\n    timeout server 1s\n    server v1 127.0.0.1:8080 check\n',
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
      'policy-unused at policy stock',
    ].map((one) => (one.includes(' at ') ? one : `${one} at backend warehouse`)),
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
]

/** Other ways to write the same, in which nothing is to be found. */
const alike: readonly [name: string, changes: Changes][] = [
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
  [
    'two actions by method',
    [
      [
        action,
        '    http-request lua.entra-auth orders if METH_GET\n    http-request lua.entra-auth stock unless METH_GET\n',
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
        '    http-request lua.entra-auth stock\n    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }\n',
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
        '    http-request deny deny_status 400 if { path_sub // /./ /../ % } or { path_end /. /.. }\n    use_backend stock if { path_beg /stock }\n',
      ],
    ],
  ],
  [
    'backends by path with ambiguous paths refused by a pattern',
    [
      [
        route,
        '    http-request deny if { path_reg //|%|/\\.\\.?/ }\n    use_backend stock if { path_beg /stock }\n',
      ],
    ],
  ],
  [
    'backends by path with normalised paths',
    [
      ['    noreuseport\n', '    noreuseport\n    expose-experimental-directives\n'],
      [
        route,
        '    http-request normalize-uri percent-decode-unreserved\n    http-request normalize-uri path-merge-slashes\n    http-request normalize-uri path-strip-dot\n    http-request normalize-uri path-strip-dotdot full\n    use_backend stock if { path_beg /stock }\n',
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
        'server v1 10.0.0.11:8443 check ssl verify required ca-file ca.pem',
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
]

/** What some of them show beside the point. */
const besideThePoint: Readonly<Record<string, readonly string[]>> = {
  'backends by path with one policy': ['policy-unused at policy stock'],
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
    const own = findingCodes.slice(0, findingCodes.indexOf('scope-missing'))
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
      ...alike.filter(([name]) => name !== 'TLS to the verifier'),
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
