import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { shippedConfig } from '../../scripts/local-stack/haproxy.ts'
import { foldFastLanes } from '../../src/drift/fast-lane.ts'
import { parseHaproxyFiles } from '../../src/drift/haproxy-file.ts'

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
  const optional = /cache|\(txn\.entra\.ms\)|status/

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

  it('is none with another policy, another order, another field or another condition', () => {
    for (const [what, by] of [
      ['entra-auth-hit(orders)', 'entra-auth-hit(public)'],
      ['field(-5,|)', 'field(-3,|)'],
      ['length,bool', 'length'],
      ['hit) if { var(txn.entra.hit),length gt 0 }', 'hit) if { var(txn.entra.hit) -m found }'],
    ] as const) {
      assert.ok(text.includes(what), what)
      assert.ok(
        actionsIn(text.replace(what, by)).some((line) => line.includes('set-var')),
        what,
      )
    }
  })

  it('leaves other lines as they are', () => {
    const { sections } = parseHaproxyFiles([
      { name: 'x', text: 'backend a\n  server b 1.1.1.1:1\n' },
    ])
    const [section] = sections
    assert.deepEqual(foldFastLanes(section?.lines ?? []), section?.lines)
  })
})
