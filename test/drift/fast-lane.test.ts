import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { shippedConfig } from '../../scripts/local-stack/haproxy.ts'
import { foldFastLanes } from '../../src/drift/fast-lane.ts'
import { parseHaproxyFiles } from '../../src/drift/haproxy-file.ts'
import { haproxyFindings } from './fixture.ts'

const text = readFileSync(shippedConfig, 'utf8')

/** Lines of the backend that mention the action, in the branch with the fast lane. */
function actionsIn(config: string): string[] {
  const { branches } = parseHaproxyFiles([{ name: 'haproxy.cfg', text: config }])
  return branches
    .flatMap(({ sections }) => sections.filter(({ name }) => name === 'orders'))
    .flatMap(({ lines }) => lines.map(({ words }) => words.join(' ')))
    .filter((line) => /entra-auth|txn\.entra\.(?!ok\) -m)/.test(line) && !/unset-var/.test(line))
}

describe('the fast lane of HAProxy 3.4, to drift', () => {
  it('is the action that it spares, where all of it is there', () => {
    const plain = 'http-request lua.entra-auth orders'
    assert.deepEqual([...new Set(actionsIn(text).filter((line) => !/deny/.test(line)))], [plain])
  })

  const lane = /^ {4}\.else\n([\s\S]*?)^ {4}\.endif$/m.exec(
    text.slice(text.indexOf('backend orders')),
  )
  const lines = (lane?.[1] ?? '').trimEnd().split('\n')
  const optional = /cache|\(txn\.entra\.ms\)|status|unset-var/

  it('is told of line by line', () => assert.ok(lines.length > 10))

  for (const line of lines.filter((one) => !optional.test(one))) {
    it(`is no fast lane without: ${line.trim()}`, () => {
      const left = actionsIn(text.replace(`${line}\n`, ''))
      assert.ok(
        left.some((one) => /set-var|add-headers-bin/.test(one)) || !/lua\.entra-auth /.test(line),
        left.join('\n'),
      )
    })
  }

  const sharedLine = `${lines.find((line) => line.includes('entra-auth-shared'))}\n`

  it('is none with another policy, another order, another field or another condition', () => {
    const okCondition = 'if { var(txn.entra.ok) -m bool }'
    const okLine =
      '    http-request set-var(txn.entra.ok) var(txn.entra.hit),ltrim(-0123456789),length,bool\n'
    for (const [what, by] of [
      ['entra-auth-hit(orders,shared)', 'entra-auth-hit(public,shared)'],
      ['entra-auth-shared(orders)', 'entra-auth-shared(public)'],
      ['entra-auth-hit(orders,shared)', 'entra-auth-hit(orders)'],
      ['entra-auth-hit(orders,shared)', 'entra-auth-hit(orders,other)'],
      [sharedLine, ''],
      [sharedLine, `${sharedLine}${sharedLine}`],
      // The headers are those of the first converter, and the verdict that of the second.
      [sharedLine, sharedLine.replace(/ if .*/, '')],
      [sharedLine, sharedLine.replace('if {', 'unless {')],
      [sharedLine, sharedLine.replace('-m beg -- -', '-m found')],
      [sharedLine, sharedLine.replace('-m beg -- -', '-m beg -- a')],
      [sharedLine, sharedLine.replace('req.fhdr(authorization)', 'req.fhdr(x-token)')],
      [sharedLine, sharedLine.replace('sha2(256),base64', 'base64')],
      [sharedLine, sharedLine.replace(',concat(,txn.entra.hit)', '')],
      [/(.*entra-auth-shared.*\n)(.*#.*\n.*set-var\(txn\.entra\.ok\).*\n)/, '$2$1'],
      [/(.*entra-auth-shared.*\n)([\s\S]*?)(.*entra-auth orders unless)/, '$2$1$3'],
      ['policy) str(orders)', 'policy) str(public)'],
      ['policy) str(orders)', 'policy) req.hdr(x-policy)'],
      ['status) int(200)', 'status) int(403)'],
      ['cache) str(hit)', 'cache) str(miss)'],
      ['ms) int(0)', 'user) str(admin)'],
      [`policy) str(orders) ${okCondition}`, 'policy) str(orders)'],
      [
        `policy) str(orders) ${okCondition}`,
        'policy) str(orders) unless { var(txn.entra.ok) -m bool }',
      ],
      [`policy) str(orders) ${okCondition}`, 'policy) str(orders) if { var(txn.other) -m bool }'],
      // A condition on a verdict that this lane has not set yet means another one's.
      [okLine, ''],
      [
        `${okLine}    http-request add-headers-bin var(txn.entra.hit) ${okCondition}\n`,
        `    http-request add-headers-bin var(txn.entra.hit) ${okCondition}\n${okLine}`,
      ],
      // The same for the action: it would be skipped after the allow of another one.
      [/(.*entra\.ok\) var.*\n)([\s\S]*?unless \{ var\(txn\.entra\.ok\) -m bool \}\n)/, '$2$1'],
      ['orders unless { var(txn.entra.ok) -m bool }', 'orders if { var(txn.entra.ok) -m bool }'],
      [
        'orders unless { var(txn.entra.ok) -m bool }',
        'orders unless { var(txn.entra.ok) -m found }',
      ],
      ['field(-5,|)', 'field(-3,|)'],
      ['ltrim(-0123456789),length,bool', 'length'],
      // A boolean in place of the text reads as a number.
      ['ltrim(-0123456789),length,bool', 'length,bool'],
      [
        `bin var(txn.entra.hit) ${okCondition}`,
        'bin var(txn.entra.hit) if { var(txn.entra.hit) -m found }',
      ],
    ] as const) {
      const changed = text.replace(what, by)
      assert.ok(changed !== text, String(what))
      assert.ok(
        actionsIn(changed).some((line) => line.includes('set-var')),
        String(what),
      )
    }
  })

  /** The conditions of the headers and of the action. */
  const onAllow =
    /(?<=add-headers-bin var\(txn\.entra\.hit\) if |entra-auth orders unless )\{ var\(txn\.entra\.ok\) -m bool \}/g

  for (const [what, by] of [
    // On the value itself.
    [onAllow, '{ var(txn.entra.hit),ltrim(-0123456789),length gt 0 }'],
    [onAllow, '{ var(txn.entra.hit),ltrim(-0123456789),length ge 1 }'],
    [onAllow, '{ var(txn.entra.hit),ltrim(-0123456789),length -m int gt 0 }'],
    [onAllow, '{   "var(txn.entra.hit),ltrim(-0123456789),length"  gt 0 }'],
    [/unless (\{ var\(txn\.entra\.ok\) -m bool \})(?=\n {4}\.endif)/, 'if !$1'],
    [/field\(-5,\|\)/, "field(-5,'|')"],
    [/entra-auth-hit\(orders,/, 'entra-auth-hit("orders",'],
    [/entra-auth-shared\(orders\)/, "entra-auth-shared('orders')"],
    [/-m beg -- -/, '-m beg -'],
    [/(.*entra-auth-shared.*)if \{ (.*) \}/, '    acl may_be_shared $2\n$1if may_be_shared'],
    [/(.*set-var\(txn\.entra\.ok\).*\n)/, '    http-request set-log-level debug\n$1'],
    // As haproxy-config printed it before.
    [/,shared\)\n.*/, ')'],
    [/policy\) str\(orders\) if .*/, 'policy) var(txn.entra.hit),field(-6,|)'],
    [/status\) int\(200\) if .*/, 'status) var(txn.entra.hit),field(-9,|)'],
    [
      /cache\) str\(hit\) if .*/,
      'cache) str(hit) if { var(txn.entra.hit),ltrim(-0123456789),length gt 0 }',
    ],
    [/ms\) int\(0\) if .*/, 'ms) int(0) if { var(txn.entra.ok),bool }'],
    [/(.*status\) int\(200\)) if .*/, '    acl allowed var(txn.entra.ok) -m bool\n$1 if allowed'],
    [
      /(.*entra\.ok\) .*\n)(.*add-headers-bin .*) if .*\n/,
      '$2 if { var(txn.entra.hit),ltrim(-0123456789),length gt 0 }\n$1',
    ],
    [
      /(.*)set-var\(txn\.entra\.ok\) .*/,
      '$1set-var(txn.entra.ok) bool(true) if { var(txn.entra.hit),ltrim(-0123456789),length gt 0 }',
    ],
    [/(.*field\(-5,\|\)\n)((?:.*\n)*?)(.*field\(-1,\|\)\n)/, '$3$2$1'],
    [
      /(.*unset-var\(txn\.entra\.hit\)\n)((?:.*\n)*?)(.*orders )unless \{ var\(txn\.entra\.ok\) -m bool \}/,
      '    acl is_hit var(txn.entra.hit),ltrim(-0123456789),length gt 0\n$1$2$3unless is_hit',
    ],
  ] as const) {
    it(`is one in another spelling: ${by}`, () => {
      const changed = text.replace(what, by)
      assert.notEqual(changed, text)
      assert.deepEqual(
        [...new Set(actionsIn(changed).filter((line) => !/deny|acl/.test(line)))],
        ['http-request lua.entra-auth orders'],
      )
    })
  }

  for (const [what, by] of [
    [
      'orders unless { var(txn.entra.ok) -m bool }',
      'orders unless { var(txn.entra.hit) -m found }',
    ],
    [
      'orders unless { var(txn.entra.ok) -m bool }',
      'orders unless { var(txn.entra.hit),length ge 0 }',
    ],
    [
      'orders unless { var(txn.entra.ok) -m bool }',
      'orders if { var(txn.entra.hit),ltrim(-0123456789),length gt 0 }',
    ],
    [
      'orders unless { var(txn.entra.ok) -m bool }',
      'orders unless { var(txn.entra.hit),length gt 0 }',
    ],
    [
      'orders unless { var(txn.entra.ok) -m bool }',
      'orders unless { var(txn.entra.ok) -m bool } or { src 10.0.0.0/8 }',
    ],
    ['orders unless { var(txn.entra.ok) -m bool }', 'orders unless { always_true }'],
    [
      'set-var(txn.entra.ok) var(txn.entra.hit),ltrim(-0123456789),length,bool',
      'set-var(txn.entra.ok) bool(true)',
    ],
    [
      'set-var(txn.entra.ok) var(txn.entra.hit),ltrim(-0123456789),length,bool',
      'set-var(txn.entra.ok) req.hdr(x-ok),length,bool',
    ],
    ['req.hdrs,lua', 'req.hdr(x-hdrs),lua'],
    [
      '    http-request set-var(txn.entra.ok) var',
      '    http-request add-headers-bin var(txn.entra.hit) if { var(txn.entra.hit),ltrim(-0123456789),length gt 0 }\n    http-request set-var(txn.entra.ok) var',
    ],
    [
      '    http-request set-var(txn.entra.ok) var',
      '    http-request set-header X-Auth-Request-User admin\n    http-request set-var(txn.entra.ok) var',
    ],
    [
      '    http-request set-var(txn.entra.ok) var',
      '    http-request set-var(txn.entra.hit) req.hdr(x-hit)\n    http-request set-var(txn.entra.ok) var',
    ],
  ] as const) {
    it(`is none, which is a finding, with: ${by.trim()}`, () => {
      assert.ok(text.includes(what), what)
      const codes = haproxyFindings(text.replace(what, by)).map(({ code }) => code)
      assert.ok(codes.includes('verdict-written'), codes.join())
    })
  }

  it('keeps the hit of another lane on the same request, unless a line clears it', () => {
    const block = lines.join('\n')
    const second = `    http-request unset-var(txn.entra.ok)\n${block.replace(/.*unset-var\(txn\.entra\.hit\)\n/, '')}`
    const codesOf = (by: string) => haproxyFindings(text.replace(block, by)).map(({ code }) => code)
    assert.ok(codesOf(`${block}\n${second}`).includes('verdict-stale'))
    const whole = `    http-request unset-var(txn.entra.ok)\n${block}`
    assert.ok(!codesOf(`${block}\n${whole}`).includes('verdict-stale'))
  })

  it('leaves other lines as they are', () => {
    const { sections } = parseHaproxyFiles([
      { name: 'x', text: 'backend a\n  server b 1.1.1.1:1\n' },
    ])
    const [section] = sections
    assert.ok(section)
    assert.deepEqual(foldFastLanes(section), section.lines)
  })
})
