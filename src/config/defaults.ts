import { usualLife } from '../cache-life.ts'

/** The default values, for both the loader and the schema. */
export const defaults = {
  host: '127.0.0.1',
  listenPort: 8080,
  metricsPort: 9090,
  adminPort: 9091,
  signInPort: 8081,
  maxEventLoopLagMs: 250,
  refusalsPerSecond: 10,
  clockSkewSeconds: 300,
  identityHeaders: 'x-auth-request',
  cacheSeconds: usualLife.others,
  maxTokenLifetimeMinutes: 1500,
  sealingKeys: '/var/lib/haproxy-entra-auth/sealing',
  recheckMinutes: 60,
  sessionHours: 8,
} as const

/** Values of `log.format`. */
export const logFormats = ['numeric', 'named', 'text'] as const
