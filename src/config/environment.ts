import { nearest } from '../nearest.ts'
import { formatPath, type Path, type Problem } from './problems.ts'
import { mappingOf, memberOf } from './values.ts'

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>

const LISTENER_SETTINGS = [
  { path: ['listen', 'host'], variable: 'ENTRA_AUTH_HOST' },
  { path: ['listen', 'port'], variable: 'ENTRA_AUTH_PORT' },
  { path: ['listen', 'tls', 'certificateFile'], variable: 'ENTRA_AUTH_TLS_CERTIFICATE_FILE' },
  { path: ['listen', 'tls', 'keyFile'], variable: 'ENTRA_AUTH_TLS_KEY_FILE' },
  { path: ['metrics', 'port'], variable: 'ENTRA_AUTH_METRICS_PORT' },
  { path: ['admin', 'port'], variable: 'ENTRA_AUTH_ADMIN_PORT' },
  { path: ['signIn', 'listen', 'host'], variable: 'ENTRA_AUTH_SIGN_IN_HOST' },
  { path: ['signIn', 'listen', 'port'], variable: 'ENTRA_AUTH_SIGN_IN_PORT' },
  { path: ['revocationFile'], variable: 'ENTRA_AUTH_REVOCATION_FILE' },
] as const

const VARIABLE_OF_PATH: readonly (readonly [Path, string])[] = [
  [['policies', 'default', 'audiences'], 'ENTRA_AUTH_AUDIENCE'],
  [['tenants', 'default', 'authority'], 'ENTRA_AUTH_AUTHORITY'],
  [['tenants'], 'ENTRA_AUTH_TENANT_ID'],
  [['cloud'], 'ENTRA_AUTH_CLOUD'],
  [['signIn', 'clientId'], 'ENTRA_AUTH_CLIENT_ID'],
  [['signIn', 'hosts'], 'ENTRA_AUTH_HOSTS'],
  ...LISTENER_SETTINGS.map(({ path, variable }) => [path, variable] as const),
]

/** Variables that configure a tenant and its policy, and so exclude a file. */
export const TENANT_VARIABLES = [
  'ENTRA_AUTH_TENANT_ID',
  'ENTRA_AUTH_AUDIENCE',
  'ENTRA_AUTH_CLOUD',
  'ENTRA_AUTH_AUTHORITY',
  'ENTRA_AUTH_CLIENT_ID',
  'ENTRA_AUTH_HOSTS',
] as const

/** What else reads variables of this prefix: commands, the action, and the printed HAProxy lines. */
const OTHER_VARIABLES = [
  ...['CONFIG', 'ADMIN_KEY_FILE', 'ADMIN_URL', 'APP_SERVER', 'BAD_TOKENS_PER_10S', 'BIND'],
  ...['CACHE_BYTES', 'CACHE_ENTRIES', 'CALLER_KEY', 'CALLER_KEY_FILE', 'CA_FILE'],
  ...['CORS_PREFLIGHT', 'COUNT_BAD_TOKENS', 'FAST_LANE', 'FEED_STALE_SECONDS', 'LUA_FILE'],
  ...['MAX_CALLS', 'MAX_CALLS_PER_SOURCE', 'MAX_TOKEN_BYTES', 'METADATA_PATH', 'METRICS_BIND'],
  ...['SHARED_BYTES', 'SIGN_IN_SERVER', 'TIMEOUT_MS', 'VARIABLES'],
  ...['VERIFIER', 'VERIFIER_NAME', 'VERIFIER_SERVER'],
].map((name) => `ENTRA_AUTH_${name}`)

/** Kubernetes sets these in every pod beside a Service whose name begins with `entra-auth`. */
const OF_A_SERVICE =
  /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?$/

/** A variable that nothing reads. */
export interface UnknownVariable {
  readonly name: string
  /** The one that was meant, most likely. */
  readonly near: string | undefined
}

/** Variables called `ENTRA_AUTH_…` that nothing reads: mistyped ones, mostly. */
export function unknownVariables(env: Environment): UnknownVariable[] {
  const known = [
    ...TENANT_VARIABLES,
    ...LISTENER_SETTINGS.map(({ variable }) => variable),
    ...OTHER_VARIABLES,
  ]
  return Object.keys(env)
    .filter((name) => name.startsWith('ENTRA_AUTH_') && !known.includes(name))
    .filter((name) => !OF_A_SERVICE.test(name))
    .toSorted()
    .map((name) => ({ name, near: nearest(name, known) }))
}

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

/** Whether the configuration comes from variables alone; `file` is what the command line names. */
export function isFromEnvironment(env: Environment, file: string | undefined): boolean {
  return file === undefined && variableOf(env, 'ENTRA_AUTH_CONFIG') === undefined
}

/** What a person sets: the key in the file, or the variable where there is no file. */
export function settingName(path: Path, fromEnvironment: boolean): string {
  return (fromEnvironment ? variableAt(path) : undefined) ?? formatPath(path)
}

/** What a person sees who has no file: variables, and what needs a file after all. */
const inVariables: readonly (readonly [RegExp, string])[] = [
  [/^listen$/, 'ENTRA_AUTH_HOST'],
  [/^metrics$/, 'ENTRA_AUTH_METRICS_PORT'],
  [/^admin$/, 'ENTRA_AUTH_ADMIN_PORT'],
  [/^signIn\.listen$/, 'ENTRA_AUTH_SIGN_IN_PORT'],
  [/^signIn$/, 'ENTRA_AUTH_CLIENT_ID'],
  [/^signIn\.credential\.(certificateFile|keyFile)$/, 'AZURE_CLIENT_CERTIFICATE_PATH'],
  [/^signIn\.credential(\.federatedTokenFile)?$/, 'AZURE_FEDERATED_TOKEN_FILE'],
]

/** Lets "init" write a file, for a setting that no variable gives. */
const needsFile = 'haproxy-entra-auth init writes a configuration file from the variables'

const wordsOfTheFile: readonly (readonly [RegExp, string])[] = [
  [
    /\blisten on 127\.0\.0\.1, or set listen\.tls\b/,
    'unset ENTRA_AUTH_HOST, or set ENTRA_AUTH_TLS_CERTIFICATE_FILE and ENTRA_AUTH_TLS_KEY_FILE',
  ],
  [/\bas listen: /, 'as ENTRA_AUTH_PORT: '],
  [/\bas metrics: /, 'as ENTRA_AUTH_METRICS_PORT: '],
  [/\bas admin: /, 'as ENTRA_AUTH_ADMIN_PORT: '],
  [/"cloud" or "authority"( of the tenant)?/, 'ENTRA_AUTH_CLOUD or ENTRA_AUTH_AUTHORITY'],
  [/"cloud", "authority"/, 'ENTRA_AUTH_CLOUD, ENTRA_AUTH_AUTHORITY'],
  [/"authority" of the tenant/, 'ENTRA_AUTH_AUTHORITY'],
  [/"audiences" of the policy default/g, 'ENTRA_AUTH_AUDIENCE'],
  [/\bin "tenants"/, 'in ENTRA_AUTH_TENANT_ID'],
  [/\bin its audiences\b/, 'in ENTRA_AUTH_AUDIENCE'],
  [/\bto its audiences\b/, 'to ENTRA_AUTH_AUDIENCE'],
  [/\blisten\.tls is set\b/, 'ENTRA_AUTH_TLS_CERTIFICATE_FILE is set'],
  [/^(Use it with http-request lua\.entra-auth \S+), or remove it\.$/, '$1.'],
  [/^Configured: default\.$/, `Variables give the policy default only. For others, ${needsFile}.`],
  [
    /^(Disable and then delete it), or use it in a policy\.$/,
    `$1. For a grant that names it, ${needsFile}.`,
  ],
  [
    /\bor take tokens only in the policy of this backend\b/,
    'or take tokens only: unset ENTRA_AUTH_CLIENT_ID and ENTRA_AUTH_HOSTS',
  ],
  [/^Set revocationFile\.$/, 'Set ENTRA_AUTH_REVOCATION_FILE.'],
  [
    /^Name a file with a key that HAProxy sends in X-Entra-Auth-Key\.$/,
    `No variable sets it: ${needsFile}; name a key in callerKeyFile there.`,
  ],
  [
    /^Write one of federatedTokenFile.* or set AZURE_FEDERATED_TOKEN_FILE or (\w+)\.$/,
    `Set it, or $1. For any other credential, ${needsFile}.`,
  ],
  [
    /^Write the secret into a file .*$/,
    `Set AZURE_FEDERATED_TOKEN_FILE or AZURE_CLIENT_CERTIFICATE_PATH. For a secret in a file, ${needsFile}.`,
  ],
  [
    /^Or add the tenant (\S+) to "tenants", if .*$/,
    `Or, if you trust whoever runs the tenant $1: ${needsFile}, which may name several tenants.`,
  ],
]

/** The same in the words of somebody who has no file. */
export function wordForVariables(text: string): string {
  return wordsOfTheFile.reduce((shown, [pattern, words]) => shown.replace(pattern, words), text)
}

/** A sentence with its advice in the words of somebody who has no file. */
export function sayInVariables<T extends Pick<Problem, 'message' | 'hint'>>(said: T): T {
  return { ...said, message: wordForVariables(said.message), hint: wordForVariables(said.hint) }
}

/** A problem or a finding in the words of somebody who has no file. */
export function namedByVariables<P extends Pick<Problem, 'path' | 'message' | 'hint'>>(
  found: P,
): P {
  const [, variable] = inVariables.find(([pattern]) => pattern.test(found.path)) ?? []
  const keys = found.path.split(/[.[]/)
  return { ...sayInVariables(found), path: variable ?? variableAt(keys) ?? found.path }
}

/** A setting of a listener that the environment gives. */
export interface ListenerSetting {
  /** Where it stands in a file. */
  readonly path: readonly string[]
  readonly variable: string
  readonly value: string | number
}

/** Addresses and certificates of listeners, as far as the environment gives them. */
export function listenerSettingsFrom(env: Environment): readonly ListenerSetting[] {
  return LISTENER_SETTINGS.flatMap(({ path, variable }) => {
    const isPort = path.at(-1) === 'port'
    const text = variableOf(env, variable)
    // Kubernetes sets ENTRA_AUTH_PORT=tcp://… by itself in every pod beside a Service "entra-auth".
    if (text === undefined || (isPort && /^(tcp|udp|sctp):\/\//.test(text))) return []
    return [{ path, variable, value: isPort ? readPort(text) : text }]
  })
}

/** The tree with the settings of the environment where the file has none. */
export function withListenerSettings(tree: unknown, settings: readonly ListenerSetting[]): unknown {
  return settings.reduce((whole, { path, value }) => fillIn(whole, path, value), tree)
}

/** A mapping with a value at a path; whatever is of the wrong type stays, for the schema to report. */
function fillIn(tree: unknown, [key = '', ...rest]: readonly string[], value: unknown): unknown {
  const known = memberOf(tree, key)
  if (mappingOf(tree) === undefined || (rest.length === 0 && known !== undefined)) return tree
  const member = rest.length === 0 ? value : fillIn(known ?? {}, rest, value)
  return Object.assign(Object.create(null), tree, { [key]: member })
}

/** A number where the text is one; else the text, for the schema to report. */
function readPort(text: string): number | string {
  return /^\d{1,5}$/.test(text) ? Number(text) : text
}

/**
 * The configuration file that is equivalent to the environment: one tenant, and one policy
 * `default`.
 */
export function treeFrom(env: Environment): unknown {
  const id = variableOf(env, 'ENTRA_AUTH_TENANT_ID')
  const authority = variableOf(env, 'ENTRA_AUTH_AUTHORITY')
  const cloud = variableOf(env, 'ENTRA_AUTH_CLOUD')
  const audiences = listFrom(env, 'ENTRA_AUTH_AUDIENCE')
  const clientId = variableOf(env, 'ENTRA_AUTH_CLIENT_ID')
  const hosts = listFrom(env, 'ENTRA_AUTH_HOSTS')
  const signsIn = clientId !== undefined || hosts !== undefined
  const tree = {
    ...(cloud === undefined ? {} : { cloud }),
    ...(id === undefined
      ? {}
      : { tenants: { default: authority === undefined ? id : { id, authority } } }),
    ...(signsIn
      ? {
          signIn: {
            ...(clientId === undefined ? {} : { clientId }),
            ...(hosts === undefined ? {} : { hosts }),
          },
        }
      : {}),
    policies: {
      default: {
        ...(audiences === undefined ? {} : { audiences }),
        allow: [
          ...(signsIn ? [{ actor: 'user', session: true }] : []),
          ...(signsIn && audiences === undefined
            ? []
            : [
                { actor: 'user', scopes: 'any' },
                { actor: 'app', roles: 'any' },
              ]),
        ],
      },
    },
  }
  const settings = listenerSettingsFrom(env)
  const file = stateFileFrom(env)
  const place = file === undefined ? [] : [{ path: ['revocationFile'], variable, value: file }]
  return withListenerSettings(withListenerSettings(tree, settings), place)
}

const variable = 'STATE_DIRECTORY'

/** The place of revocations where systemd gives the service a folder of its own (`StateDirectory=`). */
function stateFileFrom(env: Environment): string | undefined {
  const folder = variableOf(env, variable)?.split(':', 1)[0]
  return folder?.startsWith('/') ? `${folder}/revocations.json` : undefined
}

/** The items of a variable that are separated by commas; undefined where there is no such variable. */
function listFrom(env: Environment, name: string): string[] | undefined {
  return variableOf(env, name)
    ?.split(',')
    .map((item) => item.trim())
}
