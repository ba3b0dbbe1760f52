import { isLoopback } from '../loopback.ts'
import type { Config, SignInConfig } from './config.ts'

/** Start-only parts of one member of the configuration, by the name of each. */
type StartOnly<K extends keyof Config> = (member: Config[K]) => Readonly<Record<string, unknown>>

/** A member that a reload puts in force as a whole. */
const live = () => ({})
/** A member of which nothing changes before a restart. */
const fixed = (value: unknown) => ({ '': value })

/** Each member of the configuration, and what of it counts at the start only. */
const startOnly: { readonly [K in keyof Required<Config>]: StartOnly<K> } = {
  listen: ({ host, port, tls }) => ({ host, port, tls: tls !== undefined }),
  metrics: ({ host, port }) => ({ host, port }),
  admin: ({ host, port }) => ({ host, port }),
  callerKey: live,
  nextCallerKey: live,
  keyStore: fixed,
  revocationFile: fixed,
  store: (store) => fixed(store && JSON.stringify(store)),
  overload: live,
  log: ({ audit, format }) => ({ format, 'audit.destination': audit }),
  tracing: (tracing) => fixed(tracing && JSON.stringify(tracing)),
  signIn: (signIn) => ({
    '': signIn !== undefined,
    'listen.host': signIn?.listen.host,
    'listen.port': signIn?.listen.port,
    sealingKeys: signIn?.sealingKeys,
    'page.logoFile': signIn?.page.logoFile,
  }),
  clockSkewSeconds: live,
  identityHeaders: live,
  tenants: live,
  policies: live,
}

/** A reloaded configuration as it can count without a restart. */
export interface Reload {
  /** With the start-only settings that stay in force. */
  readonly config: Config
  /** Each setting that waits for a restart, as the file names it. */
  readonly waiting: readonly string[]
}

/** Tells apart what of a new configuration counts at once, and what waits for a restart. */
export function planReload(started: Config, next: Config): Reload {
  const waiting = (Object.keys(startOnly) as (keyof Config)[]).flatMap((name) =>
    namesThatDiffer(name, startOnly[name] as StartOnly<typeof name>, started, next),
  )
  const { key } = next.admin
  // Without a key only loopback protects the listener, and the address that counts is the one it has.
  const keepsKey = key === undefined && !isLoopback(started.admin.host)
  if (keepsKey) waiting.push('admin.adminKeyFile')
  const keys = keysOf(keepsKey ? started.admin : next.admin)
  const tls = started.listen.tls && (next.listen.tls ?? started.listen.tls)
  const { keyStore, revocationFile, store, tracing } = started
  const config: Config = {
    ...withoutStartOnly(next),
    listen: { host: started.listen.host, port: started.listen.port, ...(tls && { tls }) },
    metrics: started.metrics,
    admin: { host: started.admin.host, port: started.admin.port, ...keys },
    log: {
      refusalsPerSecond: next.log.refusalsPerSecond,
      ...(started.log.format !== undefined && { format: started.log.format }),
      ...(started.log.audit !== undefined && { audit: started.log.audit }),
    },
    ...(keyStore !== undefined && { keyStore }),
    ...(revocationFile !== undefined && { revocationFile }),
    ...(store && { store }),
    ...(tracing && { tracing }),
    ...(started.signIn && { signIn: withStartOnlyOf(started.signIn, next.signIn) }),
  }
  return { config, waiting }
}

function namesThatDiffer<K extends keyof Config>(
  name: K,
  parts: StartOnly<K>,
  started: Config,
  next: Config,
): string[] {
  const [before, after] = [parts(started[name]), parts(next[name])]
  // Switched on or off as a whole.
  if (before[''] !== after['']) return [name]
  return Object.keys(before)
    .filter((part) => before[part] !== after[part])
    .map((part) => (part === '' ? name : `${name}.${part}`))
}

function keysOf({ key, nextKey }: Pick<Config['admin'], 'key' | 'nextKey'>) {
  return { ...(key !== undefined && { key }), ...(nextKey !== undefined && { nextKey }) }
}

function withoutStartOnly(config: Config) {
  const { keyStore: _k, revocationFile: _r, store: _s, tracing: _t, signIn: _i, ...rest } = config
  return rest
}

/** Sign-in goes on where it was until a restart, without the section too. */
function withStartOnlyOf(started: SignInConfig, next: SignInConfig = started): SignInConfig {
  const { listen, sealingKeys } = started
  const { logoFile } = started.page
  const { logoFile: _, ...page } = next.page
  return {
    ...next,
    listen,
    sealingKeys,
    page: { ...page, ...(logoFile !== undefined && { logoFile }) },
  }
}
