import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
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
    ['proxy:3128/http://other', 'http://proxy:3128/http://other'],
  ] as const) {
    it(`is read as curl reads it: ${text}`, () =>
      assert.deepEqual(readProxy(text), { ok: true, url }))
  }

  const noAddress = 'is not the address of a proxy'
  for (const [text, problem] of [
    ['socks5://proxy', 'names a socks5 proxy, which is not supported'],
    ['FTP://proxy', 'names a ftp proxy, which is not supported'],
    ['http://', noAddress],
    ['a b:3128', noAddress],
    ['http:\\\\proxy', noAddress],
    [':3128', noAddress],
  ] as const) {
    it(`is refused: ${text}`, () => assert.deepEqual(readProxy(text), { ok: false, problem }))
  }

  it('is read in lower case first, and ignored if it is empty or not an address', async () => {
    const env = { http_proxy: 'a:1', HTTP_PROXY: 'b:1', HTTPS_PROXY: 'socks5://c' }
    assert.deepEqual(readProxies(env), { httpProxy: 'http://a:1', httpsProxy: '' })
    assert.deepEqual(readProxies({ http_proxy: '', HTTP_PROXY: 'b:1' }).httpProxy, '')
    await createHttp(defaultLimits, undefined, env).close()
  })

  it('is read from each variable alone, without spaces around it', () => {
    const none = { httpProxy: '', httpsProxy: '' }
    assert.deepEqual(readProxies({}), none)
    for (const [name, option] of [
      ['http_proxy', 'httpProxy'],
      ['HTTP_PROXY', 'httpProxy'],
      ['https_proxy', 'httpsProxy'],
      ['HTTPS_PROXY', 'httpsProxy'],
    ] as const) {
      assert.deepEqual(readProxies({ [name]: ' a:1 ' }), { ...none, [option]: 'http://a:1' })
    }
  })

  it('gets the calls', async (t) => {
    const lines: string[] = []
    const proxy = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', (data) => {
        lines.push(data.toString().split(' HTTP/')[0] ?? '')
        socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
      })
    })
    await once(proxy.listen(0, '127.0.0.1'), 'listening')
    t.after(() => proxy.close())
    const { port } = proxy.address() as AddressInfo
    const http = createHttp(defaultLimits, undefined, { https_proxy: `127.0.0.1:${port}` })
    t.after(() => http.close())
    await assert.rejects(http.fetchJson('https://authority.invalid/keys'))
    assert.equal(lines[0], 'CONNECT authority.invalid:443')
  })
})
