/**
 * The requests that Traefik's ForwardAuth sends and what it does with the answer, written down here
 * from its source (3.7).
 */
import { askRaw } from '../e2e/client.ts'

export interface ForwardAuth {
  readonly address: string
  readonly trustForwardHeader: boolean
  readonly authRequestHeaders: readonly string[]
  readonly authResponseHeaders: readonly string[]
}

export type Header = readonly [string, string]

export interface Answer {
  readonly status: number
  readonly header: Map<string, string[]>
  readonly body: string
}

/** What Traefik knows of the client's request by itself. */
export interface ClientRequest {
  readonly host: string
  readonly method: string
  readonly uri: string
}

/** Asks the verifier about a client's request with these header fields. */
export async function askAsTraefik(
  { address, authRequestHeaders }: ForwardAuth,
  client: readonly Header[],
  { host, method, uri }: ClientRequest,
): Promise<Answer> {
  const url = new URL(address)
  const header = goHeader(client)
  const chosen = authRequestHeaders.flatMap((name) =>
    (header.get(canonical(name)) ?? []).map((value) => `${canonical(name)}: ${value}`),
  )
  // Go writes Host first, adds Accept-Encoding, and keeps no User-Agent that the list leaves out.
  const lines = [
    `GET ${url.pathname}${url.search} HTTP/1.1`,
    `Host: ${url.host}`,
    ...chosen,
    'X-Forwarded-For: 192.0.2.7',
    `X-Forwarded-Host: ${host}`,
    `X-Forwarded-Method: ${method}`,
    'X-Forwarded-Port: 443',
    'X-Forwarded-Proto: https',
    `X-Forwarded-Uri: ${uri}`,
    'Accept-Encoding: gzip',
    'Connection: close',
  ]
  return readAnswer(await askRaw(Number(url.port), `${lines.join('\r\n')}\r\n\r\n`, () => false))
}

/** What the application gets after an allow: each listed name deleted, then copied if it is there. */
export function forwarded(
  { authResponseHeaders }: ForwardAuth,
  client: readonly Header[],
  { header }: Answer,
): Map<string, string[]> {
  const request = goHeader(client)
  for (const name of authResponseHeaders.map(canonical)) {
    request.delete(name)
    const values = header.get(name)
    if (values) request.set(name, values)
  }
  return request
}

/** Header fields of a client as Go keeps them: by canonical name, in no order that matters. */
function goHeader(headers: readonly Header[]): Map<string, string[]> {
  const map = new Map<string, string[]>()
  for (const [name, value] of headers) {
    map.set(canonical(name), [...(map.get(canonical(name)) ?? []), value])
  }
  return map
}

function canonical(name: string): string {
  return name.toLowerCase().replace(/(^|-)[a-z]/g, (c) => c.toUpperCase())
}

function readAnswer(text: string): Answer {
  const [head = '', ...rest] = text.split('\r\n\r\n')
  const [first = '', ...lines] = head.split('\r\n')
  const pairs = lines.map((line): Header => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1).trim()]
  })
  return {
    status: Number(first.split(' ')[1]),
    header: goHeader(pairs),
    body: rest.join('\r\n\r\n'),
  }
}
