import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type Stack, startStack } from './stack.ts'

describe('two actions on one request', () => {
  for (const [what, second] of [
    ['does not run', 'http-request lua.entra-auth orders if { always_false }'],
    ['runs', 'http-request lua.entra-auth orders'],
  ] as const) {
    describe(`of which the second ${what}`, () => {
      let stack: Stack
      before(async () => {
        stack = await startStack({
          editConfig: (text) =>
            text
              .replace('http-request lua.entra-auth orders', second)
              .replace(
                '    use_backend entra-metadata',
                '    http-request lua.entra-auth everybody\n    use_backend entra-metadata',
              ),
        })
      })
      after(() => stack.stop())

      it('never take the allow of the first for the second', async () => {
        const { status } = await stack.ask()
        assert.equal(stack.verifier.calls[0]?.url, '/verify/everybody')
        assert.equal(status, what === 'runs' ? 200 : 503)
        assert.equal(stack.app.requests.length, what === 'runs' ? 1 : 0)
      })
    })
  }
})
