import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { parseTraceparent } from './traceparent.ts'

/** What ties a line in this log to those of HAProxy and of the application. */
export interface Correlation {
  readonly requestId: string
  readonly traceId?: string
  readonly forwarded: {
    readonly method?: string
    readonly host?: string
    readonly uri?: string
    readonly for?: string
  }
}

/** Reads correlation headers; for the log only. Whatever is not sane is left out. */
export function readCorrelation(headers: IncomingHttpHeaders): Correlation {
  const requestId = withoutTokens(single(headers['x-request-id']))
  const traceId = parseTraceparent(single(headers.traceparent))?.traceId
  return {
    requestId:
      requestId && /^[A-Za-z0-9._:/+=@-]{1,128}$/.test(requestId) ? requestId : randomUUID(),
    ...(traceId && { traceId }),
    forwarded: readForwarded(headers),
  }
}

/**
 * The request that the gateway asks for. The action in HAProxy has all of it behind the form of
 * `X-Entra-Auth-Prepared`, with tabs between form, method, host, path and address, because
 * each header of a call costs. The usual headers come first: other gateways set those, and pass on
 * what a client sends.
 */
function readForwarded(headers: IncomingHttpHeaders): Correlation['forwarded'] {
  const usual = {
    ...shortened('method', headers['x-forwarded-method']),
    ...shortened('host', headers['x-forwarded-host']),
    // Without the query, which may hold secrets of the application.
    ...shortened('uri', single(headers['x-forwarded-uri'])?.split('?', 1)[0]),
    ...shortened('for', headers['x-forwarded-for']),
  }
  if (Object.keys(usual).length > 0) return usual
  const [, method, host, path, address] =
    single(headers['x-entra-auth-prepared'])?.split('\t') ?? []
  return {
    ...shortened('method', method),
    ...shortened('host', host),
    ...shortened('uri', path?.split('?', 1)[0]),
    ...shortened('for', address),
  }
}

function shortened(name: string, value: string | string[] | undefined): Record<string, string> {
  const text = withoutTokens(single(value))
  return text ? { [name]: text.slice(0, 256) } : {}
}

/** A client may send its token where none belongs, as in a path or a host name. */
export function withoutTokens<Text extends string | undefined>(text: Text): Text {
  // Each JSON Web Token begins with `{"` in base64url.
  return text?.replace(/eyJ[\w-]+(\.[\w-]*)*/g, '[token]') as Text
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
