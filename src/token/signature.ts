import jwt from '@fastify/jwt'
import fastify, { type FastifyInstance } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { Key } from '../keys/key.ts'

/** Verifies RS256 signatures. */
export interface SignatureEngine {
  /** Whether `key` signed `token`; false as well for whatever else the library objects to. */
  verify(key: Key, token: string): Promise<boolean>
}

/** Instances that are kept; each takes some 0.3 MB. */
const maxVerifiers = 64

/**
 * Creates the engine.
 *
 * @fastify/jwt caches a verifier only for a key given as a PEM string when it is registered, and
 * then verifies about twice as fast as with a key function; so each key gets a tiny instance of its
 * own. Entra publishes the same keys for each tenant of a cloud, so instances are found by the key
 * itself. Above `maxVerifiers`, the least recently used one is dropped.
 */
export function createSignatureEngine(): SignatureEngine & { readonly size: number } {
  const verifiers = new LRUCache<string, Promise<FastifyInstance>>({ max: maxVerifiers })
  return {
    get size() {
      return verifiers.size
    },
    async verify(key, token) {
      let verifier = verifiers.get(key.pem)
      if (!verifier) {
        verifier = createVerifier(key)
        verifiers.set(key.pem, verifier)
      }
      const { jwt } = await verifier
      // Node finds out what kind of key it was given by an exception, a fifth of a miss's time in
      // Node 24, nearly all of it for a stack trace that nobody reads.
      const { stackTraceLimit } = Error
      Error.stackTraceLimit = 0
      const isRight = accepts(jwt, token)
      Error.stackTraceLimit = stackTraceLimit
      return isRight
    },
  }
}

function accepts({ verify }: FastifyInstance['jwt'], token: string): boolean {
  try {
    verify(token)
    return true
  } catch {
    return false
  }
}

async function createVerifier(key: Key): Promise<FastifyInstance> {
  const app = fastify()
  await app.register(jwt, {
    secret: { public: key.pem },
    verify: {
      algorithms: ['RS256'],
      cache: false,
      // Only the signature: the claims stage requires each claim, with a reason of its own, and
      // checks times against the clock that was passed in.
      ignoreExpiration: true,
      ignoreNotBefore: true,
    },
  })
  await app.ready()
  return app
}
