import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  branchHolds,
  outcomesOf,
  readBranchCondition,
  testsIn,
} from '../../src/drift/branch-condition.ts'

/** The outcomes in which a condition holds, as `a` and `!a`. */
function outcomesIn(text: string): string[] {
  const condition = readBranchCondition(text)
  return outcomesOf(testsIn(condition))
    .filter((outcomes) => branchHolds(condition, outcomes))
    .map((outcomes) => [...outcomes].map(([name, holds]) => (holds ? name : `!${name}`)).join(' '))
    .toSorted()
}

const a = 'defined(A)'
const b = 'feature(B)'

describe('the condition behind .if', () => {
  for (const [text, expected] of [
    [a, [a]],
    [`!${a}`, [`!${a}`]],
    [`! ${a}`, [`!${a}`]],
    [`!(${a})`, [`!${a}`]],
    [`${a} && ${b}`, [`${a} ${b}`]],
    [`${a}&&!${b}`, [`${a} !${b}`]],
    [`${a} || ${b}`, [`!${a} ${b}`, `${a} !${b}`, `${a} ${b}`]],
    [`!(${a} || ${b})`, [`!${a} !${b}`]],
    [`(${a}) && (${b})`, [`${a} ${b}`]],
    [`${a} || ${b} && 0`, [`${a} !${b}`, `${a} ${b}`]],
    ['streq("x||y","(")', ['streq("x||y","(")']],
    ['strneq(a,b)', ['!streq(a,b)']],
    ['version_before(3.2)', ['!version_atleast(3.2)']],
    ['version_atleast(3.2-dev1)', ['version_atleast(3.2-dev1)']],
    ['version_atleast(3.4) && version_before(3.1)', []],
    ['version_atleast(2.6)', ['']],
    ['version_before(2.4)', []],
    ['0', []],
    ['', []],
    ['1', ['']],
    ['2 && 1', ['']],
  ] as const) {
    it(`is read as HAProxy does: ${JSON.stringify(text)}`, () => {
      assert.deepEqual(outcomesIn(text), [...expected].toSorted())
    })
  }

  it('is tried with a bounded number of outcomes, however many tests there are', () => {
    const tests = Array.from({ length: 40 }, (_, index) => `defined(A${index})`)
    assert.equal(outcomesOf(tests).length, 64)
  })
})
