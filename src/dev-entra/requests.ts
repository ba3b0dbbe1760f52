/** The endpoints that are counted. */
export type Endpoint =
  | 'metadata'
  | 'keys'
  | 'instance'
  | 'token'
  | 'authorize'
  | 'logout'
  | 'elsewhere'

/** How often each endpoint and each path was asked for since the start or the last reset. */
export interface RequestCounts {
  readonly counts: Readonly<Record<Endpoint, number>>
  readonly paths: Readonly<Record<string, number>>
}

export interface RequestCounter {
  add(endpoint: Endpoint, path: string): void
  read(): RequestCounts
  reset(): void
}

const maxPaths = 1000

/** Creates the counter; after 1000 different paths it counts new ones by endpoint only. */
export function createRequestCounter(): RequestCounter {
  const zero = {
    metadata: 0,
    keys: 0,
    instance: 0,
    token: 0,
    authorize: 0,
    logout: 0,
    elsewhere: 0,
  }
  let counts: Record<Endpoint, number> = { ...zero }
  let paths = new Map<string, number>()
  return {
    add(endpoint, path) {
      counts[endpoint] += 1
      if (paths.has(path) || paths.size < maxPaths) paths.set(path, (paths.get(path) ?? 0) + 1)
    },
    read: () => ({ counts: { ...counts }, paths: Object.fromEntries(paths) }),
    reset() {
      counts = { ...zero }
      paths = new Map()
    },
  }
}
