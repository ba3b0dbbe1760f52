import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createHttp, defaultLimits } from '../../src/keys/http.ts'
import { readProxies, readProxy } from '../../src/keys/proxy.ts'

describe('a proxy', () => {
  for (const [text, url] of [
    ['10.0.0.1:3128', 'http://10.0.0.1:3128'],
    ['proxy.internal:3128', 'http://proxy.internal:3128'],
    ['user:pass@proxy:3128', 'http://user:pass@proxy:3128'],
    ['[fd00::1]:3128', 'http://[fd00::1]:3128'],
    ['HTTPS://proxy', 'HTTPS://proxy'],
  ] as const) {
    it(`is read as curl reads it: ${text}`, () =>
      assert.deepEqual(readProxy(text), { ok: true, url }))
  }

  for (const text of [
    'socks5://proxy',
    'ftp://proxy',
    'http://',
    'a b:3128',
    'http:\\\\proxy',
    ':3128',
  ]) {
    it(`is refused: ${text}`, () => assert.equal(readProxy(text).ok, false))
  }

  it('is read in lower case first, and ignored if it is empty or not an address', async () => {
    const env = { http_proxy: 'a:1', HTTP_PROXY: 'b:1', HTTPS_PROXY: 'socks5://c' }
    assert.deepEqual(readProxies(env), { httpProxy: 'http://a:1', httpsProxy: '' })
    assert.deepEqual(readProxies({ http_proxy: '', HTTP_PROXY: 'b:1' }).httpProxy, '')
    await createHttp(defaultLimits, undefined, env).close()
  })
})
