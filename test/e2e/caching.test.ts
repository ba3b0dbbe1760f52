/** Caches behind the action: what the page about caching advises, and what it warns of. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { allow, deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

const page = readFileSync(new URL('../../docs/recipes/caching.md', import.meta.url), 'utf8')
const [, publicBlock = ''] = [...page.matchAll(/^```haproxy[^\n]*\n(.*?)^```$/gms)].map(
  ([, block = '']) => block,
)

/** The application lets every cache keep its answers, which is as bad as it gets. */
const cacheable = 'http-response set-header cache-control "max-age=60, public"'
const guard = '    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }\n'
const cache = 'cache answers\n    total-max-size 4\n    max-age 60\n\n'

function withCache(text: string, more = ''): string {
  const rules = `${guard}${more}    http-request cache-use answers\n    ${cacheable}\n    http-response cache-store answers\n`
  return text.replace(guard, () => rules).replace('frontend www\n', () => `${cache}frontend www\n`)
}

async function start(t: { after(cleanUp: () => unknown): void }, edit: (text: string) => string) {
  const stack = await startStack({ editConfig: edit })
  t.after(() => stack.stop())
  stack.verifier.script = ({ headers }) =>
    headers.some(([name, value]) => /^authorization$/i.test(name) && /alice|bob/.test(value))
      ? allow()
      : deny(401, 'signature_invalid')
  return stack
}

const askAs = (stack: Stack, token?: string) =>
  stack.ask({ path: '/report', headers: token ? [['Authorization', `Bearer ${token}`]] : [] })

describe('a cache behind the action', () => {
  it('gives no one the answer to another, while the token stays in the request', async (t) => {
    const stack = await start(t, (text) => withCache(text))
    for (const [index, name] of ['alice', 'alice', 'bob'].entries()) {
      assert.equal((await askAs(stack, name)).status, 200)
      assert.equal(stack.app.requests.length, index + 1)
    }
    for (const token of [undefined, 'mallory']) {
      assert.equal((await askAs(stack, token)).status, 401)
    }
    assert.equal(stack.app.requests.length, 3)
  })

  it('gives one person’s answer to another where the token is removed: what the page warns of', async (t) => {
    const stack = await start(t, (text) =>
      withCache(text, '    http-request del-header authorization\n'),
    )
    const first = await askAs(stack, 'alice')
    const second = await askAs(stack, 'bob')
    assert.equal(second.body, first.body)
    assert.equal(stack.app.requests.length, 1)
    // The guard stands in front of it all the same.
    assert.equal((await askAs(stack)).status, 401)
  })
})

describe('the public backend of the page about caching', () => {
  it('answers everybody from its cache, and beside it every request needs a token', async (t) => {
    const stack = await start(t, (text) => {
      const block = publicBlock
        .replace(/server app \S+/, 'server app "$' + '{ENTRA_AUTH_APP_SERVER}"')
        .replace('    http-response cache-store', `    ${cacheable}\n    http-response cache-store`)
      return text
        .replace(/^frontend www$/m, () => `${block}\nfrontend www`)
        .replace(
          '    default_backend orders',
          () =>
            '    use_backend site if { req.hdr(host) -m str www.example }\n    default_backend orders',
        )
    })
    const ask = () => stack.ask({ path: '/report', host: 'www.example', headers: [] })
    assert.equal((await ask()).status, 200)
    assert.equal((await ask()).status, 200)
    assert.equal(stack.app.requests.length, 1)
    assert.equal((await askAs(stack)).status, 401)
  })
})
