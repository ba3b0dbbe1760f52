import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { posix, win32 } from 'node:path'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { shippedConfig } from '../../scripts/local-stack/haproxy.ts'
import { plainPathPattern, refuseAmbiguousPaths } from '../../src/haproxy/plain-path.ts'

const plain = new RegExp(plainPathPattern)

describe('a path that every program reads alike', () => {
  for (const path of [
    '/',
    '/orders',
    '/orders/',
    '/a.b.c/d_e-f',
    '/.well-known/x',
    '/v1/a:b@c,d=e+f',
  ])
    it(`is ${path}`, () => assert.match(path, plain))

  // What it is to some: WHATWG, .NET, Java, PHP, Python, Go, Windows, nginx.
  for (const path of [
    '',
    '*',
    '//admin',
    '/pub//admin',
    '/orders//',
    '/.',
    '/..',
    '/./admin',
    '/pub/../admin',
    '/pub/..',
    '/pub/...',
    '/admin.',
    '/admin./x',
    '/admin ',
    '/.\\admin',
    '/pub\\..\\admin',
    '/pub/..\\admin',
    '\\admin',
    '/pub/..;/admin',
    '/pub/..;x=1/admin',
    '/admin;x',
    '/;/admin',
    '/%61dmin',
    '/pub/%2e%2e/admin',
    '/pub%2f..%2fadmin',
    '/pub%5c..%5cadmin',
    '/pub%252fadmin',
    '/%c0%ae%c0%ae/admin',
    '/%u002e%u002e/admin',
    '/admin%00',
    '/admin%0a',
    '/admin\0',
    '/ad\tmin',
    '/ad\nmin',
    '/admin\n',
    '/ad\rmin',
    '/admin\x7f',
    '/\xc0\xae\xc0\xae/admin',
    '/\xe2\x88\x95admin',
    '/\uff0e\uff0e/admin',
    '/admin#x',
    '/admin?x',
    '/ADMINI~1/x',
    '/admin::$DATA',
    "/admin'",
    '/admin"',
    '/ad{m}in',
    '/admin|x',
    'http://other/admin',
  ])
    it(`is not ${JSON.stringify(path)}`, () => assert.doesNotMatch(path, plain))

  it('comes out of the parsers of this runtime as it went in', () => {
    const characters = [...'/.\\%;#?~:@,=+-_aZ9e2f \t\0\n\xc0']
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...characters), { maxLength: 12 }), (parts) => {
        const path = `/${parts.join('')}`
        if (!plain.test(path)) return
        assert.equal(new URL(path, 'http://a').pathname, path)
        assert.equal(new URL(`http://a${path}`).pathname, path)
        assert.equal(posix.normalize(path), path)
        assert.equal(win32.normalize(path).replaceAll('\\', '/'), path)
        assert.equal(decodeURIComponent(path), path)
      }),
      { numRuns: 20_000 },
    )
  })

  it('takes no time that grows faster than the path', () => {
    for (const part of ['a', '.a', '/a', 'a.', '/.a'])
      assert.equal(plain.test(`/${part.repeat(20_000)}%`), false)
  })

  it('is what the shipped configuration advises, word for word', () => {
    assert.ok(readFileSync(shippedConfig, 'utf8').includes(`    # ${refuseAmbiguousPaths}\n`))
  })
})
