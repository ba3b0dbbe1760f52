/** For how long a verdict of a policy may be kept, in seconds. */
export interface CacheLife {
  /** By the action in HAProxy, which hears of revocations and of other rules within about a second. */
  readonly action: number
  /** By any other cache. */
  readonly others: number
}

/** What a policy may say about them. */
export interface CacheSettings {
  readonly cacheSeconds: number
  /** Only where the usual `cacheSeconds` is written out. */
  readonly actionCacheSeconds?: number
}

/** Where a policy does not say how long. The action could keep a verdict for longer: this is a second line of defence. */
export const usualLife: CacheLife = { action: 300, others: 30 }

/**
 * Lives of the verdicts of a policy. A `cacheSeconds` that is written out counts for all caches. A setting more for
 * each policy would give all configurations another version than they have in earlier releases, so only the one
 * case has it that the number alone does not tell.
 */
export function cacheLifeOf({ cacheSeconds, actionCacheSeconds }: CacheSettings): CacheLife {
  const usual = cacheSeconds === usualLife.others ? usualLife.action : cacheSeconds
  return { action: actionCacheSeconds ?? usual, others: cacheSeconds }
}
