import type { Path } from './problems.ts'

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>

const ADDRESSES = [
  { section: 'listen', key: 'host', variable: 'ENTRA_AUTH_HOST' },
  { section: 'listen', key: 'port', variable: 'ENTRA_AUTH_PORT' },
  { section: 'metrics', key: 'port', variable: 'ENTRA_AUTH_METRICS_PORT' },
  { section: 'admin', key: 'port', variable: 'ENTRA_AUTH_ADMIN_PORT' },
] as const

const VARIABLE_OF_PATH: readonly (readonly [Path, string])[] = [
  [['policies', 'default', 'audiences'], 'ENTRA_AUTH_AUDIENCE'],
  [['tenants', 'default', 'authority'], 'ENTRA_AUTH_AUTHORITY'],
  [['tenants'], 'ENTRA_AUTH_TENANT_ID'],
  [['cloud'], 'ENTRA_AUTH_CLOUD'],
  ...ADDRESSES.map(({ section, key, variable }) => [[section, key], variable] as const),
]

/** Variables that configure a tenant and its policy, and so exclude a file. */
export const TENANT_VARIABLES = [
  'ENTRA_AUTH_TENANT_ID',
  'ENTRA_AUTH_AUDIENCE',
  'ENTRA_AUTH_CLOUD',
  'ENTRA_AUTH_AUTHORITY',
] as const

/** The value of a variable; an empty one counts as absent. */
export function variableOf(env: Environment, name: string): string | undefined {
  const value = Object.hasOwn(env, name) ? env[name]?.trim() : undefined
  return value === '' ? undefined : value
}

/** The variable that a path of the equivalent file stands for; undefined where there is none. */
export function variableAt(path: Path): string | undefined {
  return VARIABLE_OF_PATH.find(([prefix]) =>
    prefix.every((part, index) => path[index] === part),
  )?.[1]
}

/** An address of a listener that the environment gives. */
export interface Address {
  readonly section: 'listen' | 'metrics' | 'admin'
  readonly key: 'host' | 'port'
  readonly variable: string
  readonly value: string | number
}

/** Hosts and ports of listeners, as far as the environment gives them. */
export function addressesFrom(env: Environment): readonly Address[] {
  return ADDRESSES.flatMap(({ section, key, variable }) => {
    const text = variableOf(env, variable)
    // Kubernetes sets ENTRA_AUTH_PORT=tcp://… by itself in every pod beside a Service "entra-auth".
    if (text === undefined || (key === 'port' && /^(tcp|udp|sctp):\/\//.test(text))) return []
    return [{ section, key, variable, value: key === 'port' ? readPort(text) : text }]
  })
}

/** A number where the text is one; else the text, for the schema to report. */
function readPort(text: string): number | string {
  return /^\d{1,5}$/.test(text) ? Number(text) : text
}

/** The file that would say what the environment says: one tenant, and one policy `default`. */
export function treeFrom(env: Environment): unknown {
  const id = variableOf(env, 'ENTRA_AUTH_TENANT_ID')
  const authority = variableOf(env, 'ENTRA_AUTH_AUTHORITY')
  const cloud = variableOf(env, 'ENTRA_AUTH_CLOUD')
  const sections: Record<string, Record<string, unknown>> = {}
  for (const { section, key, value } of addressesFrom(env)) {
    sections[section] = { ...sections[section], [key]: value }
  }
  const audiences = variableOf(env, 'ENTRA_AUTH_AUDIENCE')
    ?.split(',')
    .map((audience) => audience.trim())
  return {
    ...(cloud === undefined ? {} : { cloud }),
    ...sections,
    ...(id === undefined
      ? {}
      : { tenants: { default: authority === undefined ? id : { id, authority } } }),
    policies: {
      default: {
        ...(audiences === undefined ? {} : { audiences }),
        allow: [
          { actor: 'user', scopes: 'any' },
          { actor: 'app', roles: 'any' },
        ],
      },
    },
  }
}
