import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'

/** The endpoints that can be made to fail. */
export const faultTargets = ['metadata', 'keys'] as const
export type FaultTarget = (typeof faultTargets)[number]

/** Every kind of fault, with the targets that know it and what the endpoint does then. */
export const faultKinds = {
  none: { targets: ['metadata', 'keys'], effect: 'answers normally' },
  slow: { targets: ['metadata', 'keys'], effect: 'answers normally after `ms`' },
  hang: { targets: ['metadata', 'keys'], effect: 'never answers' },
  '500': { targets: ['metadata', 'keys'], effect: 'answers 500' },
  html: { targets: ['metadata', 'keys'], effect: 'answers 200 with an HTML page' },
  empty: { targets: ['metadata', 'keys'], effect: 'answers {} or {"keys":[]}' },
  half: { targets: ['metadata', 'keys'], effect: 'cuts the connection in the middle of the body' },
  redirect: { targets: ['metadata', 'keys'], effect: 'answers 302 to a place with good content' },
  huge: { targets: ['metadata', 'keys'], effect: 'answers with 16 MiB of valid JSON' },
  'foreign-issuer': {
    targets: ['metadata', 'keys'],
    effect: 'names the consumer tenant as issuer (of the authority, or of each key)',
  },
  'foreign-keys': { targets: ['metadata'], effect: 'points jwks_uri to another host' },
  'wrong-keys': { targets: ['keys'], effect: 'lists other keys under the same key ids' },
  'template-issuer': { targets: ['keys'], effect: 'names {tenantid} in the issuer of each key' },
} as const satisfies Record<string, { targets: readonly FaultTarget[]; effect: string }>

export type FaultKind = keyof typeof faultKinds

export interface Fault {
  readonly kind: FaultKind
  /** Delay of `slow`. */
  readonly ms: number
}

/** The fault that each endpoint has at present. */
export interface FaultBoard {
  get(target: FaultTarget): Fault
  /** Sets a fault; false when this target does not know this kind. */
  set(target: FaultTarget, fault: Fault): boolean
  clear(): void
  /** Sends the body, as the fault of the target has it. */
  send(target: FaultTarget, body: object, reply: FastifyReply): Promise<FastifyReply>
}

/** Path in front of which the fault `redirect` finds good content. */
export const elsewhere = '/dev/elsewhere'

const noFault: Fault = { kind: 'none', ms: 0 }
const hugeChunk = 'x'.repeat(64 * 1024)
const hugeChunks = 256

/** Whether a text names a kind of fault. */
export function isFaultKind(text: string): text is FaultKind {
  return Object.hasOwn(faultKinds, text)
}

/** Creates the fault board, without a fault; `wait` resolves after that many ms. */
export function createFaultBoard(wait: (ms: number) => Promise<unknown>): FaultBoard {
  const faults = new Map<FaultTarget, Fault>()
  const get = (target: FaultTarget) => faults.get(target) ?? noFault
  return {
    get,
    set(target, fault) {
      const targets: readonly FaultTarget[] = faultKinds[fault.kind].targets
      if (!targets.includes(target)) return false
      faults.set(target, fault)
      return true
    },
    clear: () => faults.clear(),
    async send(target, body, reply) {
      const { kind, ms } = get(target)
      const json = () => reply.type('application/json; charset=utf-8')
      switch (kind) {
        case 'slow':
          await wait(ms)
          return json().send(body)
        case 'hang':
          return reply.hijack()
        case '500':
          return json().code(500).send({ error: 'server_error' })
        case 'html':
          return reply
            .type('text/html; charset=utf-8')
            .send('<html><body>Proxy login</body></html>')
        case 'empty':
          return json().send(target === 'keys' ? { keys: [] } : {})
        case 'half':
          return cutInTheMiddle(body, reply)
        case 'redirect':
          return reply.redirect(`${elsewhere}${reply.request.url}`)
        case 'huge':
          return json().send(Readable.from(inflate(body)))
        default:
          return json().send(body)
      }
    },
  }
}

function cutInTheMiddle(body: object, reply: FastifyReply): FastifyReply {
  const text = Buffer.from(JSON.stringify(body))
  reply.hijack()
  reply.raw.writeHead(200, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': text.length,
  })
  reply.raw.write(text.subarray(0, text.length / 2), () => reply.raw.destroy())
  return reply
}

function* inflate(body: object) {
  yield `${JSON.stringify(body).slice(0, -1)},"padding":"`
  for (let sent = 0; sent < hugeChunks; sent++) yield hugeChunk
  yield '"}'
}
