import type { LiveConfig } from '../config/config.ts'
import { namedGroups } from '../policy/compile.ts'
import { createHosts, type Hosts } from './hosts.ts'
import { fingerprintOf } from './session.ts'

/** What the configuration says about sessions; a reload replaces it as a whole. */
export interface SessionRules {
  readonly clientId: string
  readonly tenantId: string
  readonly hosts: Hosts
  /** Groups that some policy names: the only ones that a session keeps. */
  readonly groups: ReadonlySet<string>
  /** Tells whether a session looked at exactly these groups. */
  readonly groupsLookedAt: string
  readonly recheckSeconds: number
  readonly sessionSeconds: number
  readonly clockSkewSeconds: number
}

/** Compiles the rules of sessions; undefined where nobody signs in with a browser. */
export function compileSessionRules({
  signIn,
  policies,
  clockSkewSeconds,
}: LiveConfig): SessionRules | undefined {
  if (!signIn) return undefined
  const groups = new Set(policies.flatMap((policy) => [...namedGroups(policy)]))
  return {
    clientId: signIn.clientId,
    tenantId: signIn.tenantId,
    hosts: createHosts(signIn.hosts),
    groups,
    groupsLookedAt: fingerprintOf(groups),
    recheckSeconds: signIn.recheckMinutes * 60,
    sessionSeconds: signIn.sessionHours * 3_600,
    clockSkewSeconds,
  }
}
