import type { Path } from './problems.ts'

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>

const VARIABLE_OF_PATH: readonly (readonly [Path, string])[] = [
  [['policies', 'default', 'audiences'], 'ENTRA_AUTH_AUDIENCE'],
  [['tenants', 'default', 'authority'], 'ENTRA_AUTH_AUTHORITY'],
  [['tenants'], 'ENTRA_AUTH_TENANT_ID'],
  [['cloud'], 'ENTRA_AUTH_CLOUD'],
  [['listen', 'host'], 'ENTRA_AUTH_HOST'],
  [['listen', 'port'], 'ENTRA_AUTH_PORT'],
  [['admin', 'port'], 'ENTRA_AUTH_ADMIN_PORT'],
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

/** Host and port of the verify listener, as far as the environment gives them, in the form of the file. */
export function listenFrom(env: Environment): { host?: string; port?: number | string } {
  const host = variableOf(env, 'ENTRA_AUTH_HOST')
  const port = variableOf(env, 'ENTRA_AUTH_PORT')
  return {
    ...(host === undefined ? {} : { host }),
    // Kubernetes sets ENTRA_AUTH_PORT=tcp://… by itself in every pod beside a Service "entra-auth".
    ...(port === undefined || /^(tcp|udp|sctp):\/\//.test(port) ? {} : { port: readPort(port) }),
  }
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
  const adminPort = variableOf(env, 'ENTRA_AUTH_ADMIN_PORT')
  const audiences = variableOf(env, 'ENTRA_AUTH_AUDIENCE')
    ?.split(',')
    .map((audience) => audience.trim())
  return {
    ...(cloud === undefined ? {} : { cloud }),
    listen: listenFrom(env),
    ...(adminPort === undefined ? {} : { admin: { port: readPort(adminPort) } }),
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
