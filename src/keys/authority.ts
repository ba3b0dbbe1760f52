import type { TenantConfig } from '../config/config.ts'
import type { EndpointVersion } from './discovery.ts'
import type { Http } from './http.ts'
import {
  createIssuerKeys,
  type IssuerKeys,
  type IssuerKeysState,
  type KeysRuntime,
} from './issuer-keys.ts'

/** The authority of one configured tenant: an issuer and its keys for each token version. */
export interface Authority {
  readonly tenant: TenantConfig
  /** Whether a tenant has the same keys, whatever its name. */
  serves(tenant: TenantConfig): boolean
  /** Takes another name of the same tenant for logs and metrics. */
  rename(name: string): void
  issuerKeys(version: EndpointVersion): IssuerKeys
  /** Keys that were in use and are not any more, since a time in ms. */
  retiredKeys(sinceMs: number): readonly { readonly id: string; readonly atMs: number }[]
  state(): AuthorityState
  /** Refreshes at once where no key of a version is confirmed any more. */
  refreshIfStale(): void
  /** Resolves when each version was tried once; the refresh goes on in the background. */
  start(): Promise<void>
  stop(): void
  /** Stops, and ends all verdicts that rest on its keys: the tenant is no longer configured so. */
  retire(): void
}

/** How an authority is doing, as `/readyz` shows it. */
export interface AuthorityState {
  readonly tenant: string
  readonly id: string
  readonly ready: boolean
  readonly tried: boolean
  readonly versions: Readonly<Record<EndpointVersion, IssuerKeysState>>
}

/** The authorities of all configured tenants, by tenant id. */
export type Authorities = ReadonlyMap<string, Authority>

/** Creates the authority of a tenant. */
export function createAuthority(
  configured: TenantConfig,
  http: Http,
  runtime: KeysRuntime,
): Authority {
  const tenant = { ...configured }
  // After an outage both versions recover together. Otherwise tokens of the other version would
  // still get 503.
  const v1: IssuerKeys = createIssuerKeys(tenant, '1.0', http, runtime, () => v2.retry())
  const v2: IssuerKeys = createIssuerKeys(tenant, '2.0', http, runtime, () => v1.retry())
  return {
    tenant,
    serves: ({ id, authority, cloud, appId }) =>
      id === tenant.id &&
      authority === tenant.authority &&
      cloud === tenant.cloud &&
      appId === tenant.appId,
    rename(name) {
      tenant.name = name
    },
    refreshIfStale() {
      v1.refreshIfStale()
      v2.refreshIfStale()
    },
    issuerKeys: (version) => (version === '1.0' ? v1 : v2),
    retiredKeys(sinceMs) {
      const [one, other] = [v1.retiredSince(sinceMs), v2.retiredSince(sinceMs)]
      return other.length === 0 ? one : [...one, ...other]
    },
    state() {
      const versions = { '1.0': v1.state(), '2.0': v2.state() }
      const states = Object.values(versions)
      return {
        tenant: tenant.name,
        id: tenant.id,
        ready: states.some(({ keys }) => keys > 0),
        tried: states.every(({ state }) => state !== 'untried'),
        versions,
      }
    },
    async start() {
      await Promise.all([v1.start(), v2.start()])
    },
    stop() {
      v1.stop()
      v2.stop()
    },
    retire() {
      v1.retire()
      v2.retire()
    },
  }
}
