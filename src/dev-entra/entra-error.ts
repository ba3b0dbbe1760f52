import { randomUUID } from 'node:crypto'

/** An error reply of Entra: OAuth error, AADSTS number and sentence. */
export class EntraError extends Error {
  readonly status: 400 | 401 | 404
  readonly error: string
  readonly code: number

  constructor(status: 400 | 401 | 404, error: string, code: number, sentence: string) {
    super(`AADSTS${code}: ${sentence}`)
    this.status = status
    this.error = error
    this.code = code
  }
}

/**
 * The JSON body of an Entra error; `timeMs` since the epoch. `correlationId` is the one that the
 * client sent as `client-request-id`, by default a new one.
 */
export function shapeEntraError(
  failure: EntraError,
  timeMs: number,
  origin: string,
  correlationId: string = randomUUID(),
) {
  const timestamp = `${new Date(timeMs).toISOString().slice(0, 19).replace('T', ' ')}Z`
  const traceId = randomUUID()
  return {
    error: failure.error,
    error_description: `${failure.message} Trace ID: ${traceId} Correlation ID: ${correlationId} Timestamp: ${timestamp}`,
    error_codes: [failure.code],
    timestamp,
    trace_id: traceId,
    correlation_id: correlationId,
    error_uri: `${origin}/error?code=${failure.code}`,
  }
}
