/** What decides for how long a token may be good; part of the configuration. */
export interface LifetimeSettings {
  readonly clockSkewSeconds: number
  readonly policies: readonly { readonly maxTokenLifetimeMinutes: number }[]
  readonly signIn?: { readonly sessionHours: number }
}

/** For how long a token or session may be good after it was issued, in seconds, with the skew. */
export function longestLifetimeSeconds(settings: LifetimeSettings): number {
  const minutes = settings.policies.map((policy) => policy.maxTokenLifetimeMinutes)
  const hours = settings.signIn?.sessionHours ?? 0
  return Math.max(...minutes.map((each) => each * 60), hours * 3_600) + settings.clockSkewSeconds
}
