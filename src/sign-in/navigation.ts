import type { IncomingHttpHeaders } from 'node:http'

/**
 * Whether a request is a navigation of a person (Fetch Metadata): a GET for a document, and no
 * prefetch. Without Fetch Metadata: a request that accepts HTML and was not made by a script.
 */
export function isNavigation(method: string, headers: IncomingHttpHeaders): boolean {
  if (method !== 'GET') return false
  const purposes = ['sec-purpose', 'purpose', 'x-purpose', 'x-moz']
  if (purposes.some((name) => /prefetch|^pre[rv]/i.test(String(headers[name])))) return false
  // Fetch Metadata without a mode is not a browser too old for it.
  if (Object.keys(headers).some((name) => name.startsWith('sec-fetch-'))) {
    return headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document'
  }
  return /\btext\/html\b/i.test(String(headers.accept)) && headers['x-requested-with'] === undefined
}

/**
 * Whether a request may use a session: a page of another site can make the browser send it along. Plain
 * reads may come from anywhere; everything else must come from a page of this host or from no page.
 */
export function isOwnRequest(
  method: string,
  headers: IncomingHttpHeaders,
  origin: string,
): boolean {
  const isPlainRead = ['GET', 'HEAD', 'OPTIONS'].includes(method)
  // Other proxies ask without `Upgrade`, which is a header of one hop; the others come along.
  const isWebSocket =
    String(headers.upgrade).toLowerCase().includes('websocket') ||
    headers['sec-websocket-key'] !== undefined ||
    headers['sec-websocket-version'] !== undefined ||
    headers['sec-fetch-mode'] === 'websocket'
  if (isPlainRead && !isWebSocket) return true
  return comesFromHere(headers, origin)
}

/** Whether the browser says that a page of this host, or no page, made the request. */
export function comesFromHere(headers: IncomingHttpHeaders, origin: string): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined) return site === 'same-origin' || site === 'none'
  return headers.origin === origin
}
