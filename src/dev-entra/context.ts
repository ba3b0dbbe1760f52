import type { ApiDirectory } from './directory.ts'
import type { FaultBoard } from './faults.ts'
import type { Keyring } from './keys.ts'
import type { RefusalBoard } from './refusals.ts'
import type { Registrations } from './registrations.ts'
import type { SignIns } from './sign-ins.ts'
import type { SsoSessions } from './sso-sessions.ts'
import type { TokenIssuer } from './token-issuer.ts'

/** `entra`: workforce tenants; `external-id`: v2.0 only, no shared authorities. */
export type Flavour = 'entra' | 'external-id'

/** What the routes of one dev-entra share. */
export interface DevEntraContext {
  readonly flavour: Flavour
  /** Own origin without a slash at the end, for example `http://127.0.0.1:8400`. */
  readonly origin: () => string
  /** Ms since the epoch. */
  readonly now: () => number
  readonly apis: ApiDirectory
  readonly keyring: Keyring
  readonly issuer: TokenIssuer
  readonly faults: FaultBoard
  readonly signIns: SignIns
  readonly sessions: SsoSessions
  readonly refusals: RefusalBoard
  readonly registrations: Registrations
}
