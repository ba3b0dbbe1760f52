/** Sign-in in HAProxy: each way in which the printed or the shipped lines can be left out or undone. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { shippedConfig } from '../../scripts/local-stack/haproxy.ts'
import { findingCodes } from '../../src/drift/finding.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { configOf, signInFile } from '../config/fixture.ts'
import { haproxyFindings, replaced } from './fixture.ts'

const config = await configOf(signInFile)
const printed = printHaproxyConfig({ config, verifier: '127.0.0.1:8080', metadataPaths: [] })
const shipped = readFileSync(shippedConfig, 'utf8')

const codes = (text: string) => [...new Set(haproxyFindings(text, config).map(({ code }) => code))]

const route = '    use_backend entra-sign-in if { path_beg /oauth2/ }\n'
const action = 'http-request unset-var(txn.entra.ok)\n'
const remover =
  /^ {4}http-request set-header cookie .* if has_session_cookie$/m.exec(printed)?.[0] ?? ''
const host = '    http-request set-header x-forwarded-host %[req.hdr(host)]\n'
const plain = '    http-request set-header x-forwarded-proto http\n'
const overTls = '    http-request set-header x-forwarded-proto https if { ssl_fc }\n'
const bind = '    bind "$' + '{ENTRA_AUTH_BIND-127.0.0.1:8000}"\n'
const site = '\nbackend site\n    # drift: ignore action-missing\n    server s 127.0.0.1:3002\n'

type Change = readonly [piece: string, by: string]

/** The section of the verifier has the same line, so this begins where the backend does. */
const withoutLine = (line: string): Change => {
  const backend = printed.slice(printed.indexOf('backend entra-sign-in\n'))
  assert.ok(backend.includes(line), line)
  const before = backend.slice(0, backend.indexOf(line))
  return [before + line, before]
}

const rows: readonly (readonly [name: string, found: string, ...changes: Change[]])[] = [
  ['no route to the listener', 'sign-in-missing', [route, '']],
  ['a route for one page only', 'sign-in-missing', [route, route.replace('_beg', '')]],
  [
    'a route behind one that takes everything',
    'sign-in-missing',
    [route, `    use_backend orders\n${route}`],
  ],
  [
    'an action in front of the route',
    'sign-in-missing',
    [route, `    http-request lua.entra-auth orders\n${route}`],
  ],
  ['a host that the client says', 'sign-in-forwarded', [host, '']],
  ['a host under a condition', 'sign-in-forwarded', [host, host.replace('\n', ' if { ssl_fc }\n')]],
  [
    'a host that is handed on',
    'sign-in-forwarded',
    [host, host.replace('req.hdr(host)', 'req.hdr(x-forwarded-host)')],
  ],
  [
    'a host that is only added',
    'sign-in-forwarded',
    [host, host.replace('set-header', 'add-header')],
  ],
  ['a scheme that the client says without TLS', 'sign-in-forwarded', [plain, '']],
  ['a port without TLS for everybody', 'sign-in-plaintext', [bind, '    bind :80\n']],
  [
    'a port without TLS beside one with it',
    'sign-in-plaintext',
    [bind, '    bind :80\n    bind :443 ssl crt www.pem\n'],
  ],
  [
    'a redirect to https for another path',
    'sign-in-plaintext',
    [bind, '    bind :80\n    http-request redirect scheme https if { path_beg /shop }\n'],
  ],
  ['a cookie that stays', 'session-cookie-passed', [remover, '']],
  [
    'a cookie that another header takes out',
    'session-cookie-passed',
    [remover, remover.replace('has_session_cookie', '{ req.hdr(x-browser) -m found }')],
  ],
  [
    'a cookie of another name taken out',
    'session-cookie-passed',
    [remover, remover.replace('__Host-entra-', '__Host-other-')],
  ],
  [
    'the first cookie taken out only',
    'session-cookie-passed',
    [remover, remover.replace('(^|; *)', '^')],
  ],
  [
    'a public backend on the same host',
    'session-cookie-passed',
    [route, `${route}    use_backend site if { path_beg /public/ }\n`],
    ['# What the action counted', `${site}\n# What the action counted`],
  ],
  [
    'a backend without a health check',
    'verifier-unchecked',
    withoutLine('    option httpchk GET /readyz\n'),
  ],
  [
    'a replica that is not checked',
    'verifier-unchecked',
    [
      '    server s1 127.0.0.1:8081',
      '    server s1 127.0.0.1:8081\n    server s2 10.0.0.2:8081 no-check',
    ],
  ],
  ['the long timeout of the defaults', 'verifier-slow', withoutLine('    timeout connect 200ms\n')],
  [
    'a longer timeout than any callback needs',
    'verifier-slow',
    ['    timeout server  20s', '    timeout server  2m'],
  ],
  [
    'headers that may be left out',
    'strict-mode-off',
    [action, `http-request strict-mode off\n    ${action}`],
  ],
]

describe('sign-in, to drift', () => {
  it('is right as it is printed and as it ships', () => {
    assert.deepEqual([codes(printed), codes(shipped)], [[], []])
  })

  for (const [name, found, ...changes] of rows) {
    it(`is found: ${name}`, () => {
      for (const [piece] of changes) assert.notEqual(piece, '')
      const text = changes.reduce((sofar, [piece, by]) => replaced(sofar, piece, by), printed)
      assert.ok(codes(text).includes(found as (typeof findingCodes)[number]), codes(text).join())
    })
  }

  it('has a row for each of its codes', () => {
    const own = findingCodes.filter((code) => /^(sign-in-(?!audience)|session-)/.test(code))
    const tested = rows.map(([, found]) => found)
    assert.deepEqual(
      own.filter((code) => !tested.includes(code)),
      [],
    )
  })

  for (const [what, piece, found] of [
    ['the route', route, 'sign-in-missing'],
    ['the host', host, 'sign-in-forwarded'],
    ['the scheme', plain, 'sign-in-forwarded'],
    ['the cookies', `${remover}\n`, 'session-cookie-passed'],
  ] as const) {
    it(`is found where it is switched on by a variable: without ${what}`, () => {
      assert.deepEqual(codes(replaced(shipped, piece, '')), [found])
    })
  }

  const alike: readonly (readonly [name: string, ...changes: Change[]])[] = [
    ['all cookies taken out', [remover, '    http-request del-header cookie']],
    [
      'the cookie taken out by its pattern',
      [
        remover,
        "    http-request replace-header cookie '(.*)__Host-entra-[a-z]+=[^;]*(.*)' '\\1\\2'",
      ],
    ],
    ['TLS', [bind, '    bind :443 ssl crt www.pem\n']],
    [
      'a port that redirects to https',
      [
        bind,
        '    bind :80\n    bind :443 ssl crt www.pem\n    http-request redirect scheme https unless { ssl_fc }\n',
      ],
    ],
    [
      'a proxy in front that ends TLS',
      [bind, '    bind :8000\n'],
      [plain, ''],
      [overTls, '    http-request set-header x-forwarded-proto https\n'],
    ],
    [
      'a public backend on another host',
      [route, `${route}    use_backend site if { req.hdr(host) -i www.example }\n`],
      ['# What the action counted', `${site}\n# What the action counted`],
    ],
  ]
  for (const [name, ...changes] of alike) {
    it(`is right with ${name}`, () => {
      const text = changes.reduce((sofar, [piece, by]) => replaced(sofar, piece, by), printed)
      assert.deepEqual(codes(text), [])
    })
  }

  it('is right with the action in the frontend, beside routes that a map names', () => {
    const exception = '{ path_beg /oauth2/ }'
    const lines = [
      `http-request lua.entra-auth orders unless ${exception}`,
      `http-request deny deny_status 503 unless ${exception} or { var(txn.entra.ok) -m bool }`,
      'http-request set-var(txn.backend) req.hdr(host),lower,map(/etc/hosts.map)',
      `use_backend entra-sign-in if ${exception}`,
      'use_backend %[var(txn.backend)]',
    ]
    const text = printed
      .replace(route, `${lines.map((line) => `    ${line}\n`).join('')}`)
      .replace(/^ {4}\.if !version[\s\S]*?\.endif\n/m, '')
      .replace(/^ {4}http-request deny deny_status 503 unless \{ var.*\n/m, '')
      .replace(/^ {4}default_backend orders\n/m, '')
    assert.deepEqual(codes(text), [])
  })

  it('reports nothing if no policy accepts sessions', async () => {
    const text = printed.replace(route, '').replace(remover, '')
    const policies = config.policies.map((policy) => ({
      ...policy,
      allow: policy.allow.map(({ session: _, ...grant }) => grant),
    }))
    const found = haproxyFindings(text, { ...config, policies })
    assert.deepEqual(found, [])
  })
})
