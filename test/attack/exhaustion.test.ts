/**
 * Class of advisory: uncontrolled resource consumption (CWE-400, CWE-1333): headers without end, slow
 * clients that hold connections, tokens that are dear to parse, bodies that nobody wants.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, describe, it } from 'node:test'
import { tenantKey } from '../support/authority.ts'
import { assertAllowed, assertInvalidToken } from '../support/expect.ts'
import { ids } from '../support/ids.ts'
import { exchange, open, rawRequest } from '../support/raw.ts'
import { startRunningClock } from '../support/running-clock.ts'
import { startService, verify } from '../support/service.ts'
import { base64url, readToken, signTexts, v2User } from '../support/tokens.ts'

const service = await startService()
after(() => service.close())
const stillServes = async () => assertAllowed(await verify(service, 'default', v2User()))

/** CPU time of this process since then, in ms: the service runs in it, and other programs do not count. */
function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1000
}

describe('headers of 32 KiB', () => {
  const padded = (length: number) =>
    rawRequest('/verify/default', [
      `Authorization: Bearer ${v2User()}`,
      `X-Padding: ${'x'.repeat(length)}`,
    ])
  it('are too much, and refused', async () => {
    const reply = await exchange(service, padded(32 * 1024))
    assert.match(reply, /^HTTP\/1\.1 4\d\d /)
    assert.match(reply, /x-entra-auth-reason: malformed_request/i)
    await stillServes()
  })
  it('are not too much where a little is left for a token of 16 KiB', async () =>
    assert.match(await exchange(service, padded(30 * 1024)), /^HTTP\/1\.1 200 /))
  it('are refused without waiting for their end', async () => {
    const socket = await open(service)
    socket.write(`GET /verify/default HTTP/1.1\r\nHost: v\r\nX: ${'x'.repeat(40 * 1024)}`)
    const [chunk] = await once(socket, 'data')
    assert.match(String(chunk), /^HTTP\/1\.1 4\d\d /)
    socket.destroy()
  })
})

describe('slow clients', () => {
  it('with headers that do not end are cut off within seconds', async () => {
    const socket = await open(service)
    const clock = startRunningClock()
    socket.write('GET /verify/default HTTP/1.1\r\nHost: v\r\n')
    const drip = setInterval(() => socket.write('X: y\r\n'), 200)
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    await once(socket, 'close')
    clearInterval(drip)
    assert.ok(clock.nowMs() < 10_000)
    clock.stop()
    assert.doesNotMatch(text, /^HTTP\/1\.1 2/)
  })
  it('with a body that does not come are answered at once', async () => {
    const reply = await exchange(
      service,
      'GET /verify/default HTTP/1.1\r\nHost: v\r\nContent-Length: 1000000\r\n\r\n',
    )
    assert.match(reply, /x-entra-auth-reason: body_not_allowed/i)
  })
})

describe('idle connections', () => {
  it('by the hundreds keep nobody else out', async () => {
    const idle = await Promise.all(Array.from({ length: 400 }, () => open(service)))
    for (const socket of idle.slice(0, 200)) socket.write('GET /verify/default HTTP/1.1\r\n')
    await stillServes()
    for (const socket of idle) socket.destroy()
    await stillServes()
  })
  it('that break off in the middle of a request leave the service whole', async () => {
    const sockets = await Promise.all(Array.from({ length: 100 }, () => open(service)))
    for (const socket of sockets) {
      socket.write(
        `GET /verify/default HTTP/1.1\r\nHost: v\r\nAuthorization: Bearer ${v2User().slice(0, 500)}`,
      )
      socket.resetAndDestroy()
    }
    await stillServes()
  })
  it('that do not wait for the answer leave the service whole', async () => {
    const request = `GET /verify/default HTTP/1.1\r\nHost: v\r\nAuthorization: Bearer ${v2User({ uti: 'gone' })}\r\n\r\n`
    const sockets = await Promise.all(Array.from({ length: 100 }, () => open(service)))
    for (const socket of sockets) socket.write(request, () => socket.resetAndDestroy())
    await stillServes()
    assert.deepEqual(
      service.log.filter((line) => JSON.parse(line).level >= 50),
      [],
    )
  })
})

describe('tokens that are dear to parse', () => {
  const header = JSON.stringify(readToken(v2User()).header)
  const key = tenantKey(ids.contoso)
  const heavy: Record<string, string> = {
    'deep arrays': '['.repeat(11_000),
    'deep objects': '{"a":'.repeat(2_200),
    'closed deep arrays': `${'['.repeat(5_500)}${']'.repeat(5_500)}`,
    'many members': `{${Array.from({ length: 1_100 }, (_, i) => `"m${i}":1`).join(',')}`,
    'many equal members': `{${Array.from({ length: 1_800 }, () => '"m":1').join(',')}}`,
    'quotation marks without end': '"'.repeat(11_000),
    backslashes: `{"a":"${'\\'.repeat(10_999)}`,
    'a huge number': `{"exp":${'9'.repeat(11_000)}}`,
    spaces: ' '.repeat(11_000),
  }
  for (const [name, text] of Object.entries(heavy)) {
    it(`are refused quickly: ${name}`, async () => {
      const token = signTexts(header, text, key)
      const begun = process.cpuUsage()
      assertInvalidToken(
        await verify(service, 'default', token),
        name === 'a huge number' ? 'version_unknown' : 'token_malformed',
      )
      assert.ok(cpuMs(begun) < 500)
    })
  }
  it('are refused quickly: dots', async () =>
    assertInvalidToken(await verify(service, 'default', '.'.repeat(16_000)), 'token_malformed'))
  it('are refused quickly: a long segment that is almost base64url', async () =>
    assertInvalidToken(
      await verify(service, 'default', `${'A'.repeat(16_000)}!.e30.AA`),
      'token_malformed',
    ))
  it('with 1,000 scopes and roles are judged quickly', async () => {
    const many = Array.from({ length: 900 }, (_, i) => `Scope.${i}`)
    const begun = process.cpuUsage()
    await verify(service, 'default', v2User({ scp: many.join(' ') }))
    assert.ok(cpuMs(begun) < 500)
  })
  it('with a display name of nothing but spaces and percent signs are judged quickly', async () => {
    const begun = process.cpuUsage()
    await verify(service, 'default', v2User({ name: `${' '.repeat(9_000)}%${' '.repeat(2)}x` }))
    assert.ok(cpuMs(begun) < 500)
  })
  it('do not stop others', async () => {
    const bad = signTexts(header, '['.repeat(11_000), key)
    const replies = await Promise.all([
      ...Array.from({ length: 200 }, () => verify(service, 'default', bad)),
      verify(service, 'default', v2User()),
    ])
    assertAllowed(replies.at(-1) as (typeof replies)[number])
  })
})

describe('the length of a token', () => {
  it('is limited before anything of it is decoded', async () =>
    assertInvalidToken(
      await verify(service, 'default', base64url(Buffer.alloc(13_000))),
      'token_too_long',
    ))
})
