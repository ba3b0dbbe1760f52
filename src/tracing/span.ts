import type { TraceParent } from '../verify/traceparent.ts'

/** A request that was answered within a trace. */
export interface Span {
  readonly parent: TraceParent
  /** 16 hexadecimal digits. */
  readonly id: string
  readonly name: string
  readonly startMs: number
  readonly durationMs: number
  readonly attributes: Readonly<Record<string, string | number>>
  readonly hasFailed: boolean
}

const kindServer = 2
const statusError = 2

/** The body of an OTLP/HTTP request in JSON (opentelemetry-proto, ExportTraceServiceRequest). */
export function formatSpans(
  spans: readonly Span[],
  resource: Readonly<Record<string, string>>,
): string {
  const scope = { name: 'haproxy-entra-auth' }
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: formatAttributes(resource) },
        scopeSpans: [{ scope, spans: spans.map(formatSpan) }],
      },
    ],
  })
}

function formatSpan({ parent, id, name, startMs, durationMs, attributes, hasFailed }: Span) {
  const start = BigInt(Math.round(startMs)) * 1_000_000n
  return {
    traceId: parent.traceId,
    spanId: id,
    parentSpanId: parent.spanId,
    name,
    kind: kindServer,
    startTimeUnixNano: String(start),
    endTimeUnixNano: String(start + BigInt(Math.round(durationMs * 1e6))),
    attributes: formatAttributes(attributes),
    ...(hasFailed && { status: { code: statusError } }),
  }
}

function formatAttributes(attributes: Readonly<Record<string, string | number>>) {
  return Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: value },
  }))
}
