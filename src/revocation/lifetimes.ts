import { type CacheSettings, cacheLifeOf } from '../cache-life.ts'
import type { RevocationStore } from './revocation-store.ts'

/** What decides for how long a token may be good; part of the configuration. */
export interface LifetimeSettings {
  readonly clockSkewSeconds: number
  readonly policies: readonly (CacheSettings & { readonly maxTokenLifetimeMinutes: number })[]
  readonly signIn?: { readonly sessionHours: number }
}

/** For how long a token or session may be good after it was issued, in seconds, with the skew. */
function longestLifetimeSeconds(settings: LifetimeSettings): number {
  const minutes = settings.policies.map((policy) => policy.maxTokenLifetimeMinutes)
  const hours = settings.signIn?.sessionHours ?? 0
  return Math.max(...minutes.map((each) => each * 60), hours * 3_600) + settings.clockSkewSeconds
}

/** Tells a store how long tokens and verdicts live; returns the longest life of a token. */
export function prepareRevocations(store: RevocationStore, settings: LifetimeSettings): number {
  const longestSeconds = longestLifetimeSeconds(settings)
  store.setLongest(longestSeconds)
  store.setVerdictLife?.(Math.max(...settings.policies.map((policy) => cacheLifeOf(policy).action)))
  return longestSeconds
}
