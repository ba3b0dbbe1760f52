import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { startCacheStack } from '../e2e/cache-stack.ts'
import { values } from '../e2e/client.ts'
import { alice, allow, type Call, type Identity } from '../e2e/fake-verifier.ts'
import { replacing, type Stack, type StackOptions, startStack } from '../e2e/stack.ts'
import { createLane } from './lane.ts'
import { waitingLong, waitingLongEnv } from './native-application.ts'

/** Limits of the verifier and of the action, in bytes. */
const largestToken = 16_384
const largestIdentity = 8_192

/** What stands for the whole of an identity, whatever its size. */
function digest(headers: readonly (readonly [string, string])[]): string {
  const identity = headers
    .filter(([name, value]) => /^x-auth-request-/i.test(name) && value !== '')
    .map(([name, value]) => `${name.toLowerCase()}: ${value}\n`)
  return createHash('sha1').update(identity.sort().join('')).digest('hex')
}

/** An application that takes heads of any size, and answers with what it saw in a few bytes. */
async function startApplication(t: { after(cleanUp: () => unknown): void }): Promise<string> {
  const server = createServer({ maxHeaderSize: 1 << 20 }, (request, response) => {
    const raw = request.rawHeaders
    const pairs = raw.flatMap((name, at): [string, string][] =>
      at % 2 === 0 ? [[name, raw[at + 1] ?? '']] : [],
    )
    request.resume().on('end', () => {
      const seen = { digest: digest(pairs), token: request.headers.authorization?.length }
      response.end(JSON.stringify(seen))
    })
  })
  server.maxHeadersCount = 0
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

function withApplication(address: string, editConfig = (text: string) => text): StackOptions {
  return {
    editConfig: (text) => waitingLong(editConfig(text)),
    env: { ...waitingLongEnv, ENTRA_AUTH_APP_SERVER: address },
  }
}

/** An identity whose values have so many bytes, all different, in up to eleven headers. */
function identityOf(bytes: number): Identity {
  const headers = 1 + (bytes % 11)
  const each = Math.floor(bytes / headers)
  const pattern = 'abcdefghijklmnopqrstuvwxyz0123456789'
  const fill = (size: number, from: number) =>
    pattern.repeat(Math.ceil((size + 36) / 36)).slice(from % 36, (from % 36) + size)
  const parts = Array.from({ length: headers }, (_, index) => [
    `X-Auth-Request-Part-${index}`,
    fill(index === 0 ? bytes - each * (headers - 1) : each, index + bytes),
  ])
  return { ...alice, ...Object.fromEntries(parts) }
}

function tokenOf(call: Call): string {
  return (values(call, 'authorization')[0] ?? '').slice('Bearer '.length)
}

/** A token of so many characters that no other one is like. */
function tokenOfSize(size: number): string {
  const end = size.toString(36)
  return size < end.length + 1 ? 't'.repeat(size) : `${'t'.repeat(size - end.length - 1)}.${end}`
}

describe('tokens and identities of every size up to the limits', () => {
  // Each with an identity of another size: spread over all of them, each is met twice.
  const identitySize = (tokenSize: number) => 1 + ((tokenSize * 4099) % largestIdentity)

  for (const [from, to] of [
    [1, 6_000],
    [6_001, 11_500],
    [11_501, largestToken],
  ] as const) {
    it(`arrive whole: tokens of ${from} to ${to} bytes, remembered or not`, async (t) => {
      const application = await startApplication(t)
      const stack = await startCacheStack(withApplication(application))
      t.after(() => stack.stop())
      stack.verifier.script = (call) => allow(identityOf(identitySize(tokenOf(call).length)))
      let next = from
      const wrong: string[] = []
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          const lane = createLane(stack.haproxy.port)
          while (next <= to) {
            const size = next++
            const token = tokenOfSize(size)
            const whole = digest(Object.entries(identityOf(identitySize(size))))
            for (const what of ['miss', 'hit']) {
              const { status, body } = await lane.ask(token)
              const seen = `{"digest":"${whole}","token":${size + 'Bearer '.length}}`
              if (status !== 200 || body !== seen) {
                wrong.push(`${size}, ${identitySize(size)}, ${what}: ${status} ${body}`)
              }
            }
          }
          lane.close()
        }),
      )
      assert.deepEqual(wrong.slice(0, 5), [])
      // Most second requests found the verdict, or the half of this test looked at nothing.
      const calls = stack.verifier.calls.length
      assert.ok(calls < 1.2 * (to - from), `${calls} calls`)
    })
  }
})

describe('an identity of any size', () => {
  for (const [where, edit] of Object.entries({
    'the shipped buffers': (text: string) => text,
    'buffers that nobody adapted': (text: string) =>
      text.replace('tune.bufsize 32768', '').replace('tune.maxrewrite 12288', ''),
    'small reserves': replacing('tune.maxrewrite 12288', 'tune.maxrewrite 2048'),
  })) {
    it(`arrives complete or not at all, for each size around the largest that fits: ${where}`, async (t) => {
      const application = await startApplication(t)
      const stack = await startStack(withApplication(application, edit))
      t.after(() => stack.stop())
      for (const tokenSize of [500, 8_000, 13_000]) {
        for (const bodySize of [0, 60_000]) await sweep(stack, tokenSize, bodySize)
      }
    })
  }

  async function sweep(stack: Stack, tokenSize: number, bodySize: number): Promise<void> {
    const body = bodySize > 0 ? { method: 'POST', body: Buffer.alloc(bodySize, 98) } : {}
    const headers = [['Authorization', `Bearer ${'t'.repeat(tokenSize)}`]] as const
    const isWhole = async (size: number): Promise<boolean> => {
      const identity = identityOf(size)
      stack.verifier.script = () => allow(identity)
      const reply = await stack.ask({ ...body, headers })
      const what = `token ${tokenSize}, body ${bodySize}, identity ${size}: ${reply.body}`
      if (reply.status === 200) {
        assert.equal(JSON.parse(reply.body).digest, digest(Object.entries(identity)), what)
      } else assert.ok([500, 503].includes(reply.status), what)
      return reply.status === 200
    }
    // The largest that fits differs with the number of headers; all of them are within these steps.
    let edges = 0
    let before = true
    for (let size = 100; size < 32_000; size += 619) {
      const whole = await isWhole(size)
      if (whole !== before) {
        edges++
        for (let near = size - 619; near < size + 619; near += 13) await isWhole(near)
      }
      before = whole
    }
    assert.ok(edges > 0, `token ${tokenSize}, body ${bodySize}: everything was one and the same`)
  }
})
