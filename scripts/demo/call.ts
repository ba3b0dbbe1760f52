import { request } from 'node:http'

/** Name and value of a header field as it goes over the wire. */
export type HeaderField = readonly [name: string, value: string]

/** An answer over HTTP. */
export interface Answer {
  readonly status: number
  /** Value of `X-Entra-Auth-Reason`; undefined where there is none. */
  readonly reason: string | undefined
  /** Value of `Location`; undefined where there is none. */
  readonly location: string | undefined
  /** Lines of `Set-Cookie`. */
  readonly cookies: readonly string[]
  readonly body: string
}

export interface CallOptions {
  readonly method?: string
  readonly body?: string
  /** Sent in this order and spelling, duplicates included. */
  readonly headers?: readonly HeaderField[]
}

const timeoutMs = 10_000

/** Sends one request on a connection of its own; rejects where no answer comes. */
export function call(url: string, options: CallOptions = {}): Promise<Answer> {
  const { method = 'GET', body, headers = [] } = options
  // A list of headers is sent untouched, so the ones that Node would add are missing.
  const fields: HeaderField[] = [['Host', new URL(url).host], ...headers]
  if (body !== undefined) fields.push(['Content-Length', String(Buffer.byteLength(body))])
  return new Promise((done, fail) => {
    const sent = request(
      url,
      { method, headers: fields.flat(), agent: false, timeout: timeoutMs },
      (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk
        })
        response.on('error', fail)
        response.on('end', () => {
          const reason = response.headers['x-entra-auth-reason']
          done({
            status: response.statusCode ?? 0,
            reason: Array.isArray(reason) ? reason.join(', ') : reason,
            location: response.headers.location,
            cookies: response.headers['set-cookie'] ?? [],
            body: text,
          })
        })
      },
    )
    sent.on('timeout', () => sent.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)))
    sent.on('error', fail)
    sent.end(body)
  })
}

/** Asks until the answer is the wanted one, or until nobody waits any longer; says whether it came. */
export async function callUntil(
  url: string,
  isWanted: (answer: Answer) => boolean,
  isOver: () => boolean,
  // A busy machine needs half a minute for a start. A program that ended is not waited for.
  waitMs = 60_000,
): Promise<boolean> {
  const deadline = performance.now() + waitMs
  while (!isOver() && performance.now() < deadline) {
    const answer = await call(url).catch(() => undefined)
    if (answer && isWanted(answer)) return true
    await new Promise((next) => setTimeout(next, 25))
  }
  return false
}
