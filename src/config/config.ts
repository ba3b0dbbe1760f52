import type { Static } from 'typebox'
import type { denyRuleSchema, grantSchema, HEADER_SETS } from './schema.ts'

/** The configuration after loading: checked, defaults filled in, ids in lower case, files read. */
export interface Config {
  readonly listen: ListenAddress & { readonly tls?: TlsConfig }
  readonly metrics: ListenAddress
  readonly admin: ListenAddress & AdminKeys
  /** Shared key that HAProxy must send in `X-Entra-Auth-Key`; first line of `callerKeyFile`. */
  readonly callerKey?: string
  /** Counts beside `callerKey`, while it is being replaced; second line of the file. */
  readonly nextCallerKey?: string
  /** Directory for the last good keys. */
  readonly keyStore?: string
  /** File that holds the revocations; watched, and written by the admin listener. */
  readonly revocationFile?: string
  /** Redis or Valkey that replicas share; absent: the file alone. */
  readonly store?: StoreConfig
  readonly overload: {
    /** Above this lag of the event loop `/verify` answers 503; 0 for never. */
    readonly maxEventLoopLagMs: number
  }
  readonly log: LogConfig
  /** Absent where no collector of traces is named. */
  readonly tracing?: TracingConfig
  /** Absent where nobody signs in with a browser. */
  readonly signIn?: SignInConfig
  readonly clockSkewSeconds: number
  readonly identityHeaders: IdentityHeaderSet
  readonly tenants: readonly TenantConfig[]
  readonly policies: readonly PolicyConfig[]
}

/** Keys of the admin listener: lines of `adminKeyFile`. */
export interface AdminKeys {
  readonly key?: string
  /** Counts beside `key`, while it is being replaced. */
  readonly nextKey?: string
}

/**
 * What a reload puts in force. The rest counts from the start to the end of the process; `planReload`
 * names what of it waits for a restart.
 */
export interface LiveConfig
  extends Omit<
    Config,
    'listen' | 'metrics' | 'admin' | 'keyStore' | 'revocationFile' | 'store' | 'log' | 'tracing'
  > {
  readonly listen: { readonly tls?: TlsConfig }
  readonly admin: AdminKeys
  readonly log: Omit<LogConfig, 'audit'>
}

/** Where the shared store is; the files are read at each connection, so that they can rotate. */
export interface StoreConfig {
  /** `redis://HOST:PORT/DATABASE`, or `rediss://…` with TLS. */
  readonly url: string
  readonly usernameFile?: string
  readonly passwordFile?: string
  /** Certificate authorities, PEM; those of the system where it is absent. */
  readonly caFile?: string
}

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** Content of the files of `listen.tls`, checked to belong together. */
export interface TlsConfig {
  /** Certificate chain, PEM. */
  readonly certificate: string
  /** Private key, PEM. */
  readonly key: string
  /** When the certificate ends, in ms since the epoch. */
  readonly notAfterMs: number
}

/** Form of the log: pino's numbers, names of levels and ISO times, or lines for people. */
export type LogFormat = 'numeric' | 'named' | 'text'

/** What is written of requests. */
export interface LogConfig {
  /** Refusals of one reason that get a line each in a second; beyond, a sample does. */
  readonly refusalsPerSecond: number
  /** Absent: `text` on a terminal, else `numeric`. */
  readonly format?: LogFormat
  /** Where the audit of allows goes: `stdout` or the path of a file; absent where there is none. */
  readonly audit?: string
}

/** Where spans go, by OTLP over HTTP. */
export interface TracingConfig {
  readonly endpoint: string
  /** Sent along, a key of the collector maybe. */
  readonly headers: Readonly<Record<string, string>>
  /** Who sends, `service.name` among it. */
  readonly resource: Readonly<Record<string, string>>
  /** How long spans may wait for others. */
  readonly delayMs: number
}

/** Sign-in with a browser. */
export interface SignInConfig {
  /** Client id of the web application's registration. */
  readonly clientId: string
  /** The tenant (id, not name) whose people sign in. */
  readonly tenantId: string
  readonly credential: CredentialConfig
  /** Exact host names in lower case, each maybe with a port. */
  readonly hosts: readonly string[]
  readonly listen: ListenAddress
  /** Folder of the sealing keys. */
  readonly sealingKeys: string
  readonly recheckMinutes: number
  readonly sessionHours: number
  /** What the pages say of whoever runs this. */
  readonly page: {
    /** One line of text, such as whom to call. */
    readonly text?: string
    /** Path of an image file. */
    readonly logoFile?: string
  }
}

/** How the service proves itself to Entra. Paths are read when the credential is used. */
export type CredentialConfig =
  | { readonly kind: 'federatedTokenFile'; readonly tokenFile: string }
  | {
      readonly kind: 'managedIdentity'
      /** `system`, or the client id of a user-assigned identity. */
      readonly identity: string
    }
  | { readonly kind: 'certificateFile'; readonly certificateFile: string; readonly keyFile: string }
  | {
      readonly kind: 'keyVaultKey'
      /** URL of the key, `https://VAULT.vault.azure.net/keys/NAME` and maybe a version. */
      readonly key: string
      /** The certificate of the key where the vault has none of the same name. */
      readonly certificateFile?: string
    }
  | { readonly kind: 'clientSecretFile'; readonly secretFile: string }

export type CloudName = 'public' | 'usgov' | 'china'

/** A named header set, or header name → claim name. */
export type IdentityHeaderSet = NamedHeaderSet | Readonly<Record<string, string>>

/** The name of a header set, as the schema lists them. */
export type NamedHeaderSet = (typeof HEADER_SETS)[number]

export interface TenantConfig {
  /** The name that policies use. */
  readonly name: string
  /** The tenant id, a GUID in lower case. */
  readonly id: string
  /** Base URL of the authority, without a slash at the end. */
  readonly authority: string
  /** The known cloud that the authority belongs to; absent for External ID and test authorities. */
  readonly cloud?: CloudName
  /** Client id of an API with custom signing keys: adds `?appid=` to the metadata URLs. */
  readonly appId?: string
}

export interface PolicyConfig {
  readonly name: string
  /** Tenant ids (not names) whose tokens the policy admits. */
  readonly tenants: readonly string[]
  readonly audiences: readonly string[]
  /** Absolute URL of the protected resource, for RFC 9728. */
  readonly resource?: string
  readonly cacheSeconds: number
  /** See `cacheLifeOf`. */
  readonly actionCacheSeconds?: number
  readonly maxTokenLifetimeMinutes: number
  /** `named`: only the groups that the policy names reach the application. */
  readonly groups: 'named' | 'all'
  /** Only `idtyp: app` makes a token app-only; `sub` equal to `oid` does not. */
  readonly requireIdtyp: boolean
  /** Until this instant (ms since the epoch) a refusal is only reported. */
  readonly reportOnlyUntilMs?: number
  /** `false` lets requests with a session through that a page of another site makes. */
  readonly crossSiteGuard?: boolean
  readonly allow: readonly GrantConfig[]
  readonly deny: readonly DenyConfig[]
}

export type Actor = 'user' | 'app' | 'agent'

/** One grant, as the schema has it: everything that is present must hold; a list means any of. */
export type GrantConfig = Frozen<Static<typeof grantSchema>>

/** A deny rule, as the schema has it: refuses when everything that is present holds. */
export type DenyConfig = Frozen<Static<typeof denyRuleSchema>>

type Frozen<Rule> = {
  readonly [Key in keyof Rule]: Rule[Key] extends infer Value
    ? Value extends readonly (infer Item)[]
      ? readonly Item[]
      : Value
    : never
}
