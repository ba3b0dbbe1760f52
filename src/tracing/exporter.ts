import type { TracingConfig } from '../config/config.ts'
import type { Http } from '../keys/http.ts'
import { formatSpans, type Span } from './span.ts'

/** What the exporter takes from the outside world. */
export interface ExporterRuntime {
  readonly http: Http
  /** Runs `task` once after `delayMs`; the function returned cancels it. */
  readonly schedule: (task: () => void, delayMs: number) => () => void
  readonly log: {
    info(fields: object, message: string): void
    warn(fields: object, message: string): void
  }
}

/** Sends spans to a collector, some at a time. */
export interface SpanExporter {
  add(span: Span): void
  /** Sends what is left; resolves when the collector has answered or its time is over. */
  close(): Promise<void>
}

/**
 * The most spans that wait for the collector. Later ones are dropped: a collector that is down must
 * not cost memory.
 */
const maxWaiting = 2_048
const batchSize = 512

/** Longest time that the end of the process waits for the collector. */
const closeMs = 1_000

/** Creates the exporter. A batch that the collector does not take is dropped, and the log says so once. */
export function createSpanExporter(
  { endpoint, headers, resource, delayMs }: TracingConfig,
  { http, schedule, log }: ExporterRuntime,
): SpanExporter {
  let waiting: Span[] = []
  let sending: Promise<void> | undefined
  let cancel: (() => void) | undefined
  let isFailing = false

  const ending = new AbortController()

  async function send(spans: readonly Span[]): Promise<void> {
    try {
      const options = http.fetchOptions()
      const reply = await fetch(endpoint, {
        ...options,
        signal: AbortSignal.any([ending.signal, ...(options.signal ? [options.signal] : [])]),
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json', 'accept-encoding': 'identity' },
        body: formatSpans(spans, resource),
      })
      await reply.body?.cancel()
      if (!reply.ok) return fail(`the collector answered ${reply.status}`)
      if (isFailing) log.info({ spans: spans.length }, 'spans are taken again')
      isFailing = false
    } catch (error) {
      fail(nameOf(error))
    }
  }

  function fail(error: string): void {
    if (!isFailing) log.warn({ error }, 'spans not taken')
    isFailing = true
  }

  async function sendAll(): Promise<void> {
    cancel?.()
    cancel = undefined
    while (waiting.length > 0 && !ending.signal.aborted) {
      const batch = waiting.slice(0, batchSize)
      waiting = waiting.slice(batchSize)
      await send(batch)
    }
  }

  function flush(): Promise<void> {
    sending ??= sendAll().finally(() => {
      sending = undefined
      // Those that came after the last look and before this moment.
      if (waiting.length > 0 && !ending.signal.aborted) sendLater()
    })
    return sending
  }

  function sendLater(): void {
    cancel ??= schedule(() => {
      cancel = undefined
      void flush()
    }, delayMs)
  }

  return {
    add(span) {
      if (waiting.length >= maxWaiting) return
      waiting.push(span)
      if (waiting.length >= batchSize) void flush()
      else sendLater()
    },
    async close() {
      const cancelEnd = schedule(() => ending.abort(), closeMs)
      try {
        await flush()
        // Those that came while a batch was on its way.
        await flush()
      } finally {
        cancelEnd()
        ending.abort()
        cancel?.()
      }
    },
  }
}

/**
 * What kind of failure it is. Never the message: it is a library's, and may repeat the address or a
 * header, which hold the keys of the collector.
 */
function nameOf(error: unknown): string {
  const { cause, name } = error as Error
  const code = (cause as NodeJS.ErrnoException | undefined)?.code
  return code ?? (name === 'TimeoutError' ? 'no answer in time' : name)
}
