import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici'
import { readProxies } from './proxy.ts'

/** Limits of one call to an authority. */
export interface HttpLimits {
  readonly connectTimeoutMs: number
  /** For the whole reply: a body of one byte every now and then must end too. */
  readonly deadlineMs: number
  readonly maxReplyBytes: number
}

/** Outgoing calls to authorities: metadata and key sets, nothing else. */
export interface Http {
  /**
   * Options for one call of `fetch`, made anew for each: the deadline begins here. get-jwks gets
   * them too, since its own `timeout` option is never read. A `direct` call goes past each proxy, also
   * that of `NODE_USE_ENV_PROXY`.
   */
  fetchOptions(call?: { readonly direct?: boolean }): RequestInit
  /** GET of a JSON document; rejects on each other status than 200, redirects among them. */
  fetchJson(url: string): Promise<unknown>
  close(): Promise<void>
}

/** An authority's answer that is not the document asked for. */
export class HttpStatusError extends Error {
  readonly status: number
  constructor(url: string, status: number) {
    super(`${url} answered ${status}`)
    this.status = status
  }
}

/** The limits of the service. */
export const defaultLimits: HttpLimits = {
  connectTimeoutMs: 3_000,
  deadlineMs: 5_000,
  maxReplyBytes: 1024 * 1024,
}

/** Is told of each reply before its body is read. */
export type OnReply = (reply: { readonly status: number; readonly headers: Headers }) => void

/**
 * Creates the client; it honours `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. With `env` the proxies are
 * read as curl reads them; undici by itself throws for one without a scheme.
 */
export function createHttp(
  limits: HttpLimits = defaultLimits,
  onReply?: OnReply,
  env?: Readonly<Record<string, string | undefined>>,
): Http {
  const bounds = {
    connect: { timeout: limits.connectTimeoutMs },
    headersTimeout: limits.deadlineMs,
    bodyTimeout: limits.deadlineMs,
    maxResponseSize: limits.maxReplyBytes,
  }
  const agent = new EnvHttpProxyAgent({ ...(env && readProxies(env)), ...bounds })
  const directAgent = new Agent(bounds)
  const dispatcher = agent.compose(refuseCompressed)
  const directDispatcher = directAgent.compose(refuseCompressed)
  const fetchOptions: Http['fetchOptions'] = ({ direct = false } = {}) => ({
    // The types of Node's fetch name the undici that Node was built with, not this one.
    dispatcher: (direct ? directDispatcher : dispatcher) as never,
    redirect: 'error',
    signal: AbortSignal.timeout(limits.deadlineMs),
    headers: { accept: 'application/json', 'accept-encoding': 'identity' },
  })
  return {
    fetchOptions,
    async fetchJson(url) {
      const reply = await fetch(url, fetchOptions())
      onReply?.(reply)
      if (reply.status !== 200) {
        await reply.body?.cancel()
        throw new HttpStatusError(url, reply.status)
      }
      return reply.json()
    },
    async close() {
      await Promise.all([agent.destroy(), directAgent.destroy()])
    },
  }
}

/**
 * Aborts a compressed reply. None was requested, the size limit counts the bytes received, and one
 * mebibyte of them can expand to a gibibyte.
 */
const refuseCompressed: Dispatcher.DispatcherComposeInterceptor =
  (dispatch) => (options, handler) =>
    dispatch(options, {
      onRequestStart: (...args) => handler.onRequestStart?.(...args),
      onResponseStart(controller, status, headers, message) {
        if (headers['content-encoding'] !== undefined) {
          controller.abort(new Error('the reply is compressed, which was not asked for'))
          return
        }
        handler.onResponseStart?.(controller, status, headers, message)
      },
      onResponseData: (...args) => handler.onResponseData?.(...args),
      onResponseEnd: (...args) => handler.onResponseEnd?.(...args),
      onResponseError: (...args) => handler.onResponseError?.(...args),
    })
