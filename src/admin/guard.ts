import type { FastifyInstance } from 'fastify'
import { isLoopback } from '../loopback.ts'
import { isRightKey } from '../verify/caller.ts'
import { readCorrelation } from '../verify/correlation.ts'
import { sendRefusal } from '../verify/route.ts'

/**
 * Asks for the admin key on each call; a reload may change it. Without one the listener is on loopback only, and then the
 * `Host` must be this machine's: a web page could otherwise reach it through a name of its own that
 * resolves to 127.0.0.1.
 */
export function guardAdmin(app: FastifyInstance, keys: () => readonly string[]): void {
  app.addHook('onRequest', async (request, reply) => {
    const expected = keys()
    const allowed =
      expected.length === 0
        ? isLoopback(request.hostname) && request.headers.origin === undefined
        : isRightKey(/^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1], expected)
    if (allowed) return
    const { requestId } = readCorrelation(request.headers)
    await sendRefusal(reply, { allow: false, failure: 'admin_key_missing' }, requestId)
  })
}
