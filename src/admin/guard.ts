import type { FastifyInstance, FastifyRequest } from 'fastify'
import { isLoopback } from '../loopback.ts'
import { isRightKey } from '../verify/caller.ts'
import { readCorrelation } from '../verify/correlation.ts'
import { sendRefusal } from '../verify/route.ts'
import { pageAssets, sendKeyPage } from './page.ts'

/**
 * Requires the admin key on each call; a reload may change it. Without a key the listener is on
 * loopback only, and `Host` must name this machine. Otherwise a web page could reach it through a
 * host name that resolves to 127.0.0.1. Requests that a page of another site makes the browser send
 * are rejected, by `Origin` or `Sec-Fetch-Site`.
 */
export function guardAdmin(app: FastifyInstance, keys: () => readonly string[]): void {
  app.addHook('onRequest', async (request, reply) => {
    const expected = keys()
    const { url } = request.routeOptions
    if (expected.length === 0 ? isFromHere(request) : hasKey(request, expected)) return
    if (expected.length > 0) {
      if (url !== undefined && pageAssets.has(url)) return
      // A browser cannot send the key with its first request; the page that asks for it can.
      if (url === '/' && /\btext\/html\b/.test(request.headers.accept ?? '')) {
        await sendKeyPage(reply)
        return
      }
    }
    const { requestId } = readCorrelation(request.headers)
    await sendRefusal(reply, { allow: false, failure: 'admin_key_missing' }, requestId)
  })
}

function hasKey({ headers }: FastifyRequest, expected: readonly string[]): boolean {
  return isRightKey(/^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1], expected)
}

function isFromHere({ hostname, headers, routeOptions }: FastifyRequest): boolean {
  if (!isLoopback(hostname) || headers.origin !== undefined) return false
  const site = headers['sec-fetch-site']
  if (site === undefined || site === 'same-origin' || site === 'none') return true
  // A link leads to the page; it cannot be framed, and its opener sees nothing of it.
  return (
    routeOptions.url === '/' &&
    headers['sec-fetch-mode'] === 'navigate' &&
    headers['sec-fetch-dest'] === 'document'
  )
}
