import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseTraceparent } from '../../src/verify/traceparent.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const spanId = 'b7ad6b7169203331'

describe('traceparent', () => {
  it('gives trace, parent and whether the trace is recorded', () => {
    assert.deepEqual(parseTraceparent(`00-${traceId}-${spanId}-01`), {
      traceId,
      spanId,
      isSampled: true,
    })
    assert.equal(parseTraceparent(`00-${traceId}-${spanId}-00`)?.isSampled, false)
  })

  it('has flags of which only the last bit says that', () => {
    assert.equal(parseTraceparent(`00-${traceId}-${spanId}-03`)?.isSampled, true)
    assert.equal(parseTraceparent(`00-${traceId}-${spanId}-fe`)?.isSampled, false)
  })

  it('of a later version may have more fields', () => {
    assert.equal(parseTraceparent(`01-${traceId}-${spanId}-01-more`)?.traceId, traceId)
  })

  const wrong: Readonly<Record<string, string | undefined>> = {
    absent: undefined,
    empty: '',
    'of the version ff': `ff-${traceId}-${spanId}-01`,
    'of this version with a fifth field': `00-${traceId}-${spanId}-01-more`,
    'of a later version with more of the flags': `01-${traceId}-${spanId}-01more`,
    'with a trace of zeros': `00-${'0'.repeat(32)}-${spanId}-01`,
    'with a parent of zeros': `00-${traceId}-${'0'.repeat(16)}-01`,
    'in capitals': `00-${traceId.toUpperCase()}-${spanId}-01`,
    'with a short trace': `00-${traceId.slice(1)}-${spanId}-01`,
    'with a long trace': `00-${traceId}0-${spanId}-01`,
    'with a space in front': ` 00-${traceId}-${spanId}-01`,
    'with a line break behind': `00-${traceId}-${spanId}-01\n`,
    'without flags': `00-${traceId}-${spanId}`,
  }
  for (const [what, text] of Object.entries(wrong)) {
    it(`counts for nothing ${what}`, () => assert.equal(parseTraceparent(text), undefined))
  }
})
