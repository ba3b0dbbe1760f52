/** Where a request stands in a trace of somebody else's. */
export interface TraceParent {
  readonly traceId: string
  readonly spanId: string
  /** Whether the trace is recorded; who begins it decides for all of it. */
  readonly isSampled: boolean
}

/**
 * Reads `traceparent` (W3C Trace Context, section 3.2): version, trace id, parent id and flags.
 * Undefined for anything else, as the specification wants it.
 */
export function parseTraceparent(text: string | undefined): TraceParent | undefined {
  const [, version, traceId = '', spanId = '', flags = '', rest = ''] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text ?? '') ?? []
  if (version === undefined || version === 'ff') return undefined
  // Later versions may say more; this one has four fields.
  if (version === '00' && rest !== '') return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 }
}
