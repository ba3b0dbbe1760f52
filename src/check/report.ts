import type { FailureCode } from '../failure.ts'
import type { EndpointVersion } from '../keys/discovery.ts'
import type { IssuerKeysState } from '../keys/issuer-keys.ts'

/** What `check` found; its JSON. */
export interface CheckReport {
  readonly verdict: 'ok' | 'problems' | 'unreachable'
  readonly policies: number
  /** Empty with `--offline`. */
  readonly tenants: readonly TenantReport[]
  readonly findings: readonly Finding[]
}

/** One configured tenant, as its authority answered. */
export interface TenantReport {
  readonly name: string
  readonly id: string
  readonly authority: string
  readonly versions: readonly VersionReport[]
  /** This machine's clock less the authority's; null where no reply had a date. */
  readonly clockOffsetSeconds: number | null
}

/** Metadata and key set of one token version. */
export interface VersionReport {
  readonly version: EndpointVersion
  readonly metadata: string
  readonly state: IssuerKeysState['state']
  readonly issuer: string | null
  /** Ids of the keys that verify. */
  readonly keys: readonly string[]
  readonly rejected: readonly { readonly id: string | null; readonly reason: FailureCode }[]
  readonly error: string | null
}

/** Something to know or to change. */
export interface Finding {
  /** `note`: cannot be seen from here, look yourself. */
  readonly level: 'problem' | 'unreachable' | 'warning' | 'note'
  /** The key in the configuration. */
  readonly path: string
  readonly message: string
  readonly hint: string
}
