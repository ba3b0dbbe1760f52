import type { LiveConfig } from '../config/config.ts'
import { configVersion } from '../config/version.ts'
import { createHeaderSet, type HeaderSet } from '../identity/headers.ts'
import type { Authorities } from '../keys/authority.ts'
import { compilePolicies, type Policy } from '../policy/compile.ts'
import { compileSessionRules, type SessionRules } from '../session/rules.ts'
import { keysThatCount } from './caller.ts'
import { describeResources, type ResourceMetadata } from './resource-metadata.ts'

/** Everything that the configuration says about verdicts; a reload replaces it as a whole. */
export interface Rules {
  readonly authorities: Authorities
  readonly policies: ReadonlyMap<string, Policy>
  readonly resources: ReadonlyMap<string, ResourceMetadata>
  readonly headerSet: HeaderSet
  readonly clockSkewSeconds: number
  /** Absent where nobody signs in with a browser. */
  readonly sessions: SessionRules | undefined
  /** The key that HAProxy sends, and the next one while it is being replaced; empty: none is asked for. */
  readonly callerKeys: readonly string[]
  /** Hash of all that can change a verdict or a header. */
  readonly version: string
}

/** Compiles the rules, with the authorities that already run. */
export function compileRules(config: LiveConfig, authorities: Authorities): Rules {
  return {
    authorities,
    policies: compilePolicies(config.policies),
    resources: describeResources(config),
    headerSet: createHeaderSet(config.identityHeaders),
    clockSkewSeconds: config.clockSkewSeconds,
    sessions: compileSessionRules(config),
    callerKeys: keysThatCount(config.callerKey, config.nextCallerKey),
    version: configVersion(config),
  }
}
