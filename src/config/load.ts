import type { Config, TlsConfig } from './config.ts'
import { defaults, logFormats } from './defaults.ts'
import { parseConfigDocument } from './document.ts'
import {
  type Environment,
  listenerSettingsFrom,
  namedByVariables,
  TENANT_VARIABLES,
  treeFrom,
  variableAt,
  variableOf,
  withListenerSettings,
} from './environment.ts'
import { checkIdentityHeaders } from './identity-headers.ts'
import { checkListeners } from './listeners.ts'
import { checkPolicies } from './policies.ts'
import { formatPath, type Path, type Problem, quote, type Report } from './problems.ts'
import { checkProxies } from './proxy.ts'
import { checkShape } from './shape.ts'
import { checkSignIn } from './sign-in.ts'
import { checkStore } from './store.ts'
import { checkTenants } from './tenants.ts'
import { checkTls } from './tls.ts'
import { readTracing } from './tracing.ts'
import { mappingOf, memberOf, numberOr, textOf } from './values.ts'

/** Where a configuration comes from, and how a file is read. */
export interface ConfigSource {
  /** `--config`; without it `ENTRA_AUTH_CONFIG` counts. */
  readonly file?: string
  readonly env: Environment
  /** Returns the text of a file, or throws. */
  readonly readFile: (path: string) => string | Promise<string>
  /**
   * Leaves files of keys and certificates unread, for a command that has no use for them: the
   * configuration then has the text of `unread` in their place.
   */
  readonly withoutKeys?: boolean
  /**
   * Takes `unread` for files of keys and certificates that cannot be read, for a command that runs
   * where only the service may read them. Is told of each.
   */
  readonly onUnreadKey?: (path: string, code: string) => void
}

/** Stands for the content of each key file that was not read. */
const unread = 'not-read-by-this-command'

/** The configuration, or everything that is wrong with it; `files` are those that were read. */
export type LoadResult = (
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly problems: readonly Problem[] }
) & {
  /** The configuration file and key files, in order of reading, for whoever watches them. */
  readonly files: readonly string[]
}

/**
 * Loads and checks the configuration from a file, or from environment variables alone. Never
 * rejects: all problems are returned at once, ordered by line.
 */
export async function loadConfig(source: ConfigSource): Promise<LoadResult> {
  const files: string[] = []
  const file = source.file ?? variableOf(source.env, 'ENTRA_AUTH_CONFIG')
  const read: Read = async (path) => {
    if (source.withoutKeys && path !== file) return { text: unread }
    files.push(path)
    try {
      return { text: String(await source.readFile(path)) }
    } catch (error) {
      const code = textOf(memberOf(error, 'code')) ?? 'unreadable'
      if (!source.onUnreadKey || path === file) return { code }
      source.onUnreadKey(path, code)
      return { text: unread }
    }
  }
  const { config, problems } =
    file === undefined
      ? await fromEnvironment(source.env, read)
      : await fromFile(
          file,
          source.file === undefined ? 'ENTRA_AUTH_CONFIG' : '--config',
          source.env,
          read,
        )
  const tracing = readTracing(source.env, problems)
  checkProxies(source.env, problems)
  if (config !== undefined && problems.length === 0) {
    return { ok: true, config: { ...config, ...(tracing && { tracing }) }, files }
  }
  return { ok: false, problems: problems.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)), files }
}

type Read = (path: string) => Promise<{ readonly text: string } | { readonly code: string }>

interface Outcome {
  /** What was understood; only to be used without problems. */
  readonly config?: Config
  readonly problems: Problem[]
}

async function fromEnvironment(env: Environment, read: Read): Promise<Outcome> {
  const problems: Problem[] = []
  if (TENANT_VARIABLES.every((name) => variableOf(env, name) === undefined)) {
    problems.push({
      path: 'configuration',
      message: 'is missing',
      hint: 'Set ENTRA_AUTH_TENANT_ID and ENTRA_AUTH_AUDIENCE, or name a YAML file with --config FILE or ENTRA_AUTH_CONFIG.',
    })
    return { problems }
  }
  if (variableOf(env, 'ENTRA_AUTH_CLOUD') && variableOf(env, 'ENTRA_AUTH_AUTHORITY')) {
    problems.push({
      path: 'ENTRA_AUTH_AUTHORITY',
      message: 'is set together with ENTRA_AUTH_CLOUD',
      hint: 'Unset one of them: a cloud has its own authority.',
    })
  }
  const locate = (path: Path) => ({ path: variableAt(path) ?? formatPath(path) })
  const checked = await checkTree(treeFrom(env), env, locate, read)
  for (const problem of checked.problems) {
    // The schema's hint speaks of the file.
    const hint = problem.message === 'is missing' ? MISSING_VARIABLE[problem.path] : undefined
    problems.push(namedByVariables({ ...problem, hint: hint ?? problem.hint }))
  }
  return { config: checked.config, problems }
}

const MISSING_VARIABLE: Readonly<Record<string, string>> = {
  ENTRA_AUTH_TENANT_ID: 'Set it to the id of your tenant (a GUID).',
  ENTRA_AUTH_CLIENT_ID: 'Set it to the client id of the web application that people sign in to.',
  ENTRA_AUTH_HOSTS: 'Set it to the host names that people sign in at, separated by commas.',
  ENTRA_AUTH_AUDIENCE:
    'Set it to the client id or identifier URIs of your API, separated by commas.',
}

async function fromFile(
  file: string,
  namedBy: string,
  env: Environment,
  read: Read,
): Promise<Outcome> {
  const problems: Problem[] = TENANT_VARIABLES.filter(
    (name) => variableOf(env, name) !== undefined,
  ).map((name) => ({
    path: name,
    message: `is set although ${namedBy} names a file`,
    hint: 'Unset it or do without the file: only one of them can decide.',
  }))
  const content = await read(file)
  if ('code' in content) {
    problems.push({
      path: namedBy,
      message: `names a file that cannot be read (${content.code})`,
      hint: 'Check its path and permissions.',
    })
    return { problems }
  }
  const document = parseConfigDocument(content.text)
  problems.push(...document.problems)
  if (!('tree' in document)) return { problems }

  const settings = listenerSettingsFrom(env)
  const variables = new Map<string, string>()
  for (const { path, variable } of settings) {
    if (path.reduce(memberOf, document.tree) === undefined) {
      variables.set(formatPath(path), variable)
      continue
    }
    // The image sets it for those without a file, so beside a file it is no contradiction.
    if (variable === 'ENTRA_AUTH_HOST') continue
    problems.push({
      path: variable,
      message: `is set although the file has ${formatPath(path)}`,
      hint: 'Keep one of them.',
    })
  }
  const locate = (path: Path) => {
    const variable = variables.get(formatPath(path))
    if (variable !== undefined) return { path: variable }
    const line = document.lineOf(path)
    return { path: formatPath(path), ...(line === undefined ? {} : { line }) }
  }
  const checked = await checkTree(withListenerSettings(document.tree, settings), env, locate, read)
  return { config: checked.config, problems: [...problems, ...checked.problems] }
}

async function checkTree(
  tree: unknown,
  env: Environment,
  locate: (path: Path) => Pick<Problem, 'path' | 'line'>,
  read: Read,
): Promise<Required<Outcome>> {
  const problems: Problem[] = []
  const precise = new Set<string>()
  const report: Report = (path, message, hint) => {
    precise.add(formatPath(path))
    problems.push({ ...locate(path), message, hint })
  }
  const { listen, metrics, admin } = checkListeners(tree, report)
  const tls = await readTls(memberOf(memberOf(tree, 'listen'), 'tls'), read, report)
  const tenants = checkTenants(memberOf(tree, 'tenants'), memberOf(tree, 'cloud'), report)
  const surroundings = { env, tenants, listeners: { listen, metrics, admin } }
  const signIn = checkSignIn(memberOf(tree, 'signIn'), surroundings, report)
  const policies = checkPolicies(memberOf(tree, 'policies'), tenants, signIn !== undefined, report)
  const identityHeaders = checkIdentityHeaders(memberOf(tree, 'identityHeaders'), report)
  const callerKeyFile = memberOf(tree, 'callerKeyFile')
  const [callerKey, nextCallerKey] = await readKeys(['callerKeyFile'], callerKeyFile, read, report)
  const adminKeyFile = memberOf(memberOf(tree, 'admin'), 'adminKeyFile')
  const [key, nextKey] = await readKeys(['admin', 'adminKeyFile'], adminKeyFile, read, report)
  checkShape(tree, new Set(precise), report)
  const keyStore = textOf(memberOf(tree, 'keyStore'))
  const store = checkStore(memberOf(tree, 'store'), report)
  const revocationFile = textOf(memberOf(tree, 'revocationFile'))
  const clockSkewSeconds = memberOf(tree, 'clockSkewSeconds')
  const maxEventLoopLagMs = memberOf(memberOf(tree, 'overload'), 'maxEventLoopLagMs')
  const log = memberOf(tree, 'log')
  const audit = textOf(memberOf(memberOf(log, 'audit'), 'destination'))
  const format = logFormats.find((name) => name === memberOf(log, 'format'))
  const config: Config = {
    listen: { ...listen, ...(tls === undefined ? {} : { tls }) },
    metrics,
    admin: {
      ...admin,
      ...(key === undefined ? {} : { key }),
      ...(nextKey === undefined ? {} : { nextKey }),
    },
    ...(callerKey === undefined ? {} : { callerKey }),
    ...(nextCallerKey === undefined ? {} : { nextCallerKey }),
    ...(keyStore === undefined ? {} : { keyStore }),
    ...(revocationFile === undefined ? {} : { revocationFile }),
    ...(store === undefined ? {} : { store }),
    overload: { maxEventLoopLagMs: numberOr(maxEventLoopLagMs, defaults.maxEventLoopLagMs) },
    log: {
      refusalsPerSecond: numberOr(memberOf(log, 'refusalsPerSecond'), defaults.refusalsPerSecond),
      ...(format === undefined ? {} : { format }),
      ...(audit === undefined ? {} : { audit }),
    },
    ...(signIn === undefined ? {} : { signIn }),
    clockSkewSeconds: numberOr(clockSkewSeconds, defaults.clockSkewSeconds),
    identityHeaders,
    tenants,
    policies,
  }
  return { config, problems }
}

/**
 * Reads a key file: one key, or the current and the next one on a line each, without the whitespace
 * around them. Whatever is wrong is reported.
 */
async function readKeys(
  path: Path,
  file: unknown,
  read: Read,
  report: Report,
): Promise<readonly string[]> {
  const text = await readNamed(path, file, read, report)
  if (text === undefined) return []
  const keys = text.trim().split(/\s*\n\s*/)
  if (!keys.every((key) => /^[!-~]{16,512}$/.test(key))) {
    report(
      path,
      'names a file whose content is no key: 16 to 512 printable ASCII characters without spaces',
      'Write a new one, for example with "openssl rand -base64 32".',
    )
  } else if (keys.length > 2) {
    report(
      path,
      `names a file with ${keys.length} keys`,
      'Write one key, or the current and the next one on a line each.',
    )
  }
  return keys
}

/** Reads certificate and private key of the verify listener; whatever is wrong is reported. */
async function readTls(tls: unknown, read: Read, report: Report): Promise<TlsConfig | undefined> {
  if (mappingOf(tls) === undefined) return undefined
  const readMember = (key: string) =>
    readNamed(['listen', 'tls', key], memberOf(tls, key), read, report)
  const [certificate, key] = [await readMember('certificateFile'), await readMember('keyFile')]
  if (certificate === unread || key === unread) {
    return { certificate: certificate ?? unread, key: key ?? unread, notAfterMs: Infinity }
  }
  return checkTls({ certificate, key }, report)
}

/** The text of a file that a key of the configuration names; reported where it cannot be read. */
async function readNamed(
  path: Path,
  file: unknown,
  read: Read,
  report: Report,
): Promise<string | undefined> {
  if (typeof file !== 'string' || file === '') return undefined
  const content = await read(file)
  if ('text' in content) return content.text
  // The value is shown only where it looks like a path: it may be the key itself.
  const shown = /^\.{0,2}\//.test(file) ? ` ${quote(file)}` : ''
  report(
    path,
    `names a file${shown} that cannot be read (${content.code})`,
    'Check its path and permissions; the key itself does not belong here.',
  )
  return undefined
}
