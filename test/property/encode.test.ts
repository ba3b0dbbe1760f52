import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { encodeList, encodeValue } from '../../src/identity/encode.ts'
import { fc } from '../support/property.ts'

const text = fc.string({ unit: 'grapheme-composite', maxLength: 40 })
const hostileText = fc.oneof(
  text,
  fc.string({ unit: fc.constantFrom('\r', '\n', '\0', ' ', '%', ',', 'a', '\u010a', '\u{1f600}') }),
)

describe('an encoded value', () => {
  it('is printable ASCII without spaces at its ends', () =>
    fc.assert(
      fc.property(hostileText, (value) =>
        assert.match(encodeValue(value), /^([!-~]([ -~]*[!-~])?)?$/),
      ),
      { numRuns: 2_000 },
    ))
  it('can be decoded again, so two values never look alike', () =>
    fc.assert(
      fc.property(hostileText, (value) =>
        assert.equal(decodeURIComponent(encodeValue(value)), value),
      ),
      { numRuns: 2_000 },
    ))
})

describe('an encoded list', () => {
  for (const separator of [',', ' '] as const) {
    it(`can be taken apart at ${JSON.stringify(separator)} and decoded to what it was`, () =>
      fc.assert(
        fc.property(
          fc.array(
            hostileText.filter((item) => item !== ''),
            { minLength: 1, maxLength: 5 },
          ),
          (items) =>
            assert.deepEqual(
              encodeList(items, separator).split(separator).map(decodeURIComponent),
              items,
            ),
        ),
        { numRuns: 2_000 },
      ))
  }
})
