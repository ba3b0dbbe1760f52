import { setTimeout as wait } from 'node:timers/promises'
import type { Command } from 'commander'
import { type Logger, pino } from 'pino'
import { type App, buildApp } from '../app.ts'
import { cacheLifeOf } from '../cache-life.ts'
import { describeChangesInSteps, summarize } from '../config/changes.ts'
import type { Config, LiveConfig, LogFormat, PolicyConfig, SignInConfig } from '../config/config.ts'
import { isFromEnvironment, settingName } from '../config/environment.ts'
import type { LoadResult } from '../config/load.ts'
import { formatProblems } from '../config/problems.ts'
import { type ConfigReloader, createConfigReloader } from '../config/reload.ts'
import { planReload } from '../config/restart.ts'
import { secretsOf } from '../config/secrets.ts'
import { configVersion } from '../config/version.ts'
import { createHttp, defaultLimits } from '../keys/http.ts'
import { createKeyStore, type KeyStore } from '../keys/key-store.ts'
import { wordDenyRule, wordGrant } from '../policy/words.ts'
import { createQueue } from '../queue.ts'
import { prepareRevocations } from '../revocation/lifetimes.ts'
import type { RevocationStore } from '../revocation/revocation-store.ts'
import { formsOfSecrets, withoutSecrets } from '../secrets.ts'
import { runInSlices } from '../steps.ts'
import { formatJson, screenOf } from '../terminal.ts'
import type { AuditSink } from '../verify/audit-log.ts'
import { openAuditFile } from './audit-file.ts'
import { loadInThread } from './config-thread.ts'
import { type CommandIo, exitCodes } from './io.ts'
import { createLogOutput, type LogOutput, logForm } from './log-output.ts'
import { readableLine } from './log-text.ts'
import { openRevocations } from './revocation-place.ts'
import { openSignIn } from './sign-in.ts'
import { readWatched } from './watched-file.ts'

/** The words of a rule in the log, as in `policies`. */
const ruleWords = { grant: wordGrant, denyRule: wordDenyRule }

/** Time from red readiness to the last request: HAProxy asks once a second. */
const drainMs = 1_500

/** Longest time that the end waits for a reader of the log. */
const flushMs = 1_000

/** Longest time that the end waits for the place of the revocations. */
const stopMs = 1_000

/** Time between two looks at the configuration files. */
const watchIntervalMs = 2_000

/** Time between two looks at the revocation file, which others may write. */
const revocationIntervalMs = 250

/** Adds `serve`. */
export function addServeCommand(program: Command, io: CommandIo): void {
  program
    .command('serve')
    .description('answer GET /verify/{policy}')
    .option('--config <file>', 'YAML file (default: ENTRA_AUTH_CONFIG, or environment alone)')
    .action(async ({ config: file }: { config?: string }, command: Command) => {
      const source = { env: io.env, readFile: io.readFile, ...(file !== undefined && { file }) }
      const reloader = createConfigReloader(
        source,
        () => loadInThread({ env: io.env, ...(file !== undefined && { file }) }),
        readWatched,
      )
      await serve(reloader, file ?? io.env.ENTRA_AUTH_CONFIG, io, command.parent?.version())
    })
}

/** Unwraps a loaded configuration, or prints all that is wrong with it and exits with 78. */
export function requireConfig(
  loaded: LoadResult,
  name: string | undefined,
  io: CommandIo,
  json = false,
): Config {
  if (loaded.ok) return loaded.config
  if (json) {
    io.stdout.write(formatJson({ verdict: 'configuration', problems: loaded.problems }))
  }
  io.stderr.write(`${formatProblems(loaded.problems, name)}\n`)
  return io.exit(exitCodes.configuration)
}

async function serve(
  reloader: ConfigReloader,
  configName: string | undefined,
  io: CommandIo,
  serviceVersion: string | undefined,
): Promise<void> {
  const config = requireConfig(await reloader.load(), configName, io)
  const hidden = createHidden(config, io.env)
  const { log, output } = createLog(io, hidden, config.log.format)
  const revocations = await openRevocations(config, io.now, (message) => log.warn(message))
  prepareRevocations(revocations, config)
  await readRevocations(revocations, io)
  const audit = openAudit(config, log, io)
  const signIn = config.signIn && (await openSignIn(config, log, io))
  const app = buildApp(config, {
    clock: io.now,
    monotonic: () => performance.now(),
    random: Math.random,
    http: createHttp(defaultLimits, undefined, io.env),
    revocations,
    ...(config.keyStore && { keyStore: openKeyStore(config.keyStore, log) }),
    log,
    audit,
    droppedLogLines: () => output.dropped,
    serviceVersion,
    signIn: signIn?.part,
    schedule,
  })
  // Keys are asked for before the port is open, and a slow authority does not hold it closed.
  const started = app.start()
  await listen(app, config, isFromEnvironment(io.env, configName), io)
  log.info(describe(config, configVersion(config)), 'listening')
  const stopReloads = reloadOnChange({ app, reloader, config, log, io, hidden })
  const stopWatching = watchRevocations(revocations, log)
  io.onStop(async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'stopping after an error')
    log.info({ signal }, 'stopping')
    stopReloads()
    stopWatching()
    signIn?.stop()
    app.drain()
    // Requests still come until each HAProxy has seen that readiness is red.
    if (!err) await wait(drainMs)
    await app.close()
    // The disk of the copy may hang.
    await Promise.race([revocations.stop?.(), wait(stopMs)])
    await output.flush(flushMs)
  })
  await started
  log.info(
    { authorities: [...app.authorities.values()].map((a) => a.state()) },
    'authorities tried',
  )
}

/** The secrets that no line of the log may hold. */
interface Hidden {
  /** In each form in which a message may repeat them. */
  forms: readonly string[]
  /** Adds those of a new configuration to those of the start. */
  add(config: Config): void
}

function createHidden(started: Config, env: CommandIo['env']): Hidden {
  const hidden: Hidden = {
    forms: formsOfSecrets(secretsOf(started, env)),
    add(config) {
      hidden.forms = formsOfSecrets([...secretsOf(started, env), ...secretsOf(config, env)])
    },
  }
  return hidden
}

/** The log on standard output. Whoever reads it may stall, or its disk be full: requests go on. */
function createLog(
  { stdout, env }: CommandIo,
  hidden: Hidden,
  asked: LogFormat | undefined,
): { log: Logger; output: LogOutput } {
  const screen = screenOf(stdout, env)
  // A person looks at a terminal; whatever collects logs reads a pipe or a file.
  const format = asked ?? (screen.isTerminal ? 'text' : 'numeric')
  const clean = (line: string) => withoutSecrets(line, hidden.forms)
  const output = createLogOutput(
    stdout,
    (lines) => log.warn({ lines }, 'log lines were lost'),
    format === 'text' ? (line) => readableLine(clean(line), screen) : clean,
  )
  const log = pino(
    { redact: ['req.headers.authorization', 'headers.authorization'], ...logForm(format) },
    output,
  )
  return { log, output }
}

/** Attempts to read the revocations at the start: another program may be writing them just now. */
const readAttempts = 8

/**
 * Reads the revocations before the first request, or exits: without them nobody is revoked. Exits
 * as for something that may get better by itself, so that a supervisor tries again.
 */
async function readRevocations(revocations: RevocationStore, io: CommandIo): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await revocations.start()
    } catch (error) {
      if (attempt === readAttempts) {
        io.stderr.write(`error: revocations: ${(error as Error).message}\n`)
        io.exit(exitCodes.unavailable)
      }
    }
    await wait(revocationIntervalMs)
  }
}

function openKeyStore(folder: string, log: Logger): KeyStore {
  return createKeyStore(folder, undefined, (file, error) =>
    log.warn({ file, error }, 'stored keys not used'),
  )
}

/** Opens the audit, or exits where its file cannot be written: whoever asks for one must have it. */
function openAudit(
  { log: { audit, format } }: Config,
  log: Logger,
  io: CommandIo,
): AuditSink | undefined {
  if (audit === undefined) return undefined
  if (audit === 'stdout') return log
  try {
    const { sink, reopen } = openAuditFile(audit, log, format)
    io.onReload(reopen)
    return sink
  } catch (error) {
    io.stderr.write(`error: log.audit.destination: ${(error as Error).message}\n`)
    return io.exit(exitCodes.configuration)
  }
}

/** Takes in changes of the revocation file that others made; the function returned ends it. */
function watchRevocations(revocations: RevocationStore, log: Logger): () => void {
  let cancel = () => {}
  let lastProblem: string | undefined

  async function look(): Promise<void> {
    try {
      if (await revocations.reload()) {
        log.warn({ revocations: revocations.list.size }, 'revocations changed')
      }
      lastProblem = undefined
    } catch (error) {
      const { message } = error as Error
      if (message !== lastProblem) log.error({ problem: message }, 'the last revocations stay')
      lastProblem = message
    }
    cancel = schedule(() => void look(), revocationIntervalMs)
  }

  cancel = schedule(() => void look(), revocationIntervalMs)
  return () => cancel()
}

/** What reloads need. */
interface Reloading {
  readonly app: App
  readonly reloader: ConfigReloader
  /** The configuration of the start. */
  readonly config: Config
  readonly log: Logger
  readonly io: CommandIo
  readonly hidden: Hidden
}

/** Reloads on SIGHUP and when a file changes, one reload at a time; the function returned ends it. */
function reloadOnChange({ app, reloader, config, log, io, hidden }: Reloading): () => void {
  const enqueue = createQueue()
  let inForce: LiveConfig = config
  let isAskedFor = false
  let cancel = () => {}

  async function apply(loaded: LoadResult | undefined): Promise<void> {
    if (!loaded) return
    if (!loaded.ok) {
      app.countRefusedReload()
      log.error({ problems: loaded.problems }, 'new configuration refused, the old one stays')
      return
    }
    const { config: next, waiting } = planReload(config, loaded.config)
    for (const setting of waiting) log.warn({ setting }, 'setting waits for a restart')
    hidden.add(loaded.config)
    // First: after the reload nothing may fail any more, or the log would say that it did.
    const changes = await runInSlices(describeChangesInSteps(inForce, next, ruleWords))
    const { version } = await app.reload(next)
    inForce = next
    log.info(
      { ...describe(next, version), waiting, changes: summarize(changes) },
      'configuration reloaded',
    )
  }

  async function reload(load: () => Promise<LoadResult | undefined>): Promise<void> {
    try {
      await apply(await load())
    } catch (err) {
      app.countRefusedReload()
      log.error({ err }, 'reload failed, the old configuration stays')
    }
  }

  /** Of many signals one reload waits: it loads what all of them asked for. */
  function ask(): void {
    if (isAskedFor) return
    isAskedFor = true
    void enqueue(() => {
      isAskedFor = false
      return reload(reloader.load)
    })
  }

  /** Not in the queue: a disk that does not answer must hold up no SIGHUP. */
  async function look(): Promise<void> {
    if (await reloader.hasChanged()) await enqueue(() => reload(reloader.loadIfChanged))
    watch()
  }

  function watch(): void {
    cancel = schedule(() => void look(), watchIntervalMs)
  }

  io.onReload(ask)
  watch()
  return () => cancel()
}

function schedule(task: () => void, delayMs: number): () => void {
  const timer = setTimeout(task, delayMs)
  return () => clearTimeout(timer)
}

/** Opens the listeners, or says in one line why not and exits. */
async function listen(
  app: App,
  config: Config,
  fromEnvironment: boolean,
  io: CommandIo,
): Promise<void> {
  const listeners = [
    [['listen'], app.verify, config.listen],
    [['metrics'], app.metrics, config.metrics],
    [['admin'], app.admin, config.admin],
    [['signIn', 'listen'], app.signIn, config.signIn?.listen],
  ] as const
  for (const [section, listener, address] of listeners) {
    if (!listener || !address) continue
    const { host, port } = address
    try {
      await listener.listen({ host, port, backlog: 4096 })
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      const reason =
        code === 'EADDRINUSE'
          ? `the port is in use; stop the other program or set ${settingName([...section, 'port'], fromEnvironment)}`
          : message
      io.stderr.write(`error: cannot listen on ${host}:${port}: ${reason}\n`)
      io.exit(exitCodes.unavailable)
    }
  }
}

/** The effective configuration, without anything secret: of keys only whether there are any. */
function describe(config: Config, version: string): object {
  const { metrics, admin, keyStore, revocationFile, overload, identityHeaders } = config
  return {
    configVersion: version,
    listen: describeListen(config),
    metrics,
    admin: { host: admin.host, port: admin.port, key: admin.key !== undefined },
    callerKey: config.callerKey !== undefined,
    tenants: config.tenants.map(({ name, id, authority }) => ({ name, id, authority })),
    policies: config.policies.map(describePolicy),
    identityHeaders,
    clockSkewSeconds: config.clockSkewSeconds,
    keyStore,
    revocationFile,
    ...(config.store && { store: config.store.url }),
    overload,
    ...(config.signIn && { signIn: describeSignIn(config.signIn) }),
    log: config.log,
    ...(config.tracing && { tracing: withoutCredentials(config.tracing.endpoint) }),
  }
}

function describeSignIn({
  clientId,
  tenantId,
  credential,
  hosts,
  ...signIn
}: SignInConfig): object {
  const { listen, recheckMinutes, sessionHours } = signIn
  const { kind } = credential
  return {
    clientId,
    tenant: tenantId,
    credential: kind,
    hosts,
    listen,
    recheckMinutes,
    sessionHours,
  }
}

function withoutCredentials(address: string): string {
  const { origin, pathname } = new URL(address)
  return `${origin}${pathname}`
}

function describePolicy({ name, audiences, allow, deny, ...policy }: PolicyConfig): object {
  const { reportOnlyUntilMs } = policy
  const { action, others } = cacheLifeOf(policy)
  return {
    name,
    audiences,
    grants: allow.length,
    denyRules: deny.length,
    cacheSeconds: others,
    ...(action !== others && { actionCacheSeconds: action }),
    ...(reportOnlyUntilMs !== undefined && {
      reportOnlyUntil: new Date(reportOnlyUntilMs).toISOString(),
    }),
  }
}

/** What of the verify listener stays until a restart. */
function describeListen({ listen }: Config): object {
  return { host: listen.host, port: listen.port, tls: listen.tls !== undefined }
}
