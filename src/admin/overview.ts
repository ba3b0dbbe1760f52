import type { AuthorityState } from '../keys/authority.ts'
import type { PolicyDescription } from '../policy/description.ts'
import type { StoredRevocation } from '../revocation/revocation.ts'
import type { StoreState } from '../revocation/revocation-store.ts'
import type { RecentRefusals } from '../verify/recent-refusals.ts'

/** What the operator's page shows of a running service; times in ms since the epoch. */
export interface Overview {
  readonly nowMs: number
  /** Of `elapsedMs`, the clock that ages of keys are measured by. */
  readonly elapsedMs: number
  readonly version: string
  /** When this configuration was put in force. */
  readonly sinceMs: number
  readonly ready: string
  readonly policies: readonly PolicyDescription[]
  readonly authorities: readonly AuthorityState[]
  /** When the certificate of the verify listener ends; absent without TLS. */
  readonly certificateEndMs: number | undefined
  readonly store: StoreState | undefined
  readonly refusals: readonly RecentRefusals[]
  readonly revocations: readonly StoredRevocation[]
}
