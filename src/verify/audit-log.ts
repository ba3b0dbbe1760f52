import type { AccessToken } from '../token/claims.ts'
import type { Correlation } from './correlation.ts'
import { idsOf } from './refusal-log.ts'

/** Where the lines of the audit go. */
export interface AuditSink {
  info(fields: object, message: string): void
}

/** Is told of the first allow of a token by a policy; those from the cache are not told again. */
export type OnFirstSight = (policy: string, token: AccessToken, correlation: Correlation) => void

/** Writes a line for each first sight, with the ids that a line of a refusal has. */
export function createAuditLog(sink: AuditSink): OnFirstSight {
  return (policy, token, correlation) =>
    sink.info({ policy, ...correlation, ...idsOf(token) }, 'allowed')
}
