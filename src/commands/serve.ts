import { setTimeout as wait } from 'node:timers/promises'
import type { Command } from 'commander'
import { pino } from 'pino'
import { type App, buildApp } from '../app.ts'
import type { Config } from '../config/config.ts'
import { loadConfig } from '../config/load.ts'
import { formatProblems } from '../config/problems.ts'
import { createHttp } from '../keys/http.ts'
import { type CommandIo, exitCodes } from './io.ts'

/** Time from red readiness to the last request: HAProxy asks once a second. */
const drainMs = 1_500

/** Adds `serve`. */
export function addServeCommand(program: Command, io: CommandIo): void {
  program
    .command('serve')
    .description('answer GET /verify/{policy}')
    .option('--config <file>', 'YAML file (default: ENTRA_AUTH_CONFIG, or environment alone)')
    .action(async ({ config: file }: { config?: string }) => {
      await serve(await readConfig(file, io), io)
    })
}

/** Loads the configuration, or prints all that is wrong with it and exits with 78. */
export async function readConfig(file: string | undefined, io: CommandIo): Promise<Config> {
  const source = { env: io.env, readFile: io.readFile, ...(file !== undefined && { file }) }
  const loaded = await loadConfig(source)
  if (loaded.ok) return loaded.config
  const name = file ?? io.env.ENTRA_AUTH_CONFIG
  io.stderr.write(`${formatProblems(loaded.problems, name)}\n`)
  return io.exit(exitCodes.configuration)
}

async function serve(config: Config, io: CommandIo): Promise<void> {
  const log = pino({ redact: ['req.headers.authorization', 'headers.authorization'] })
  const app = buildApp(config, {
    clock: io.now,
    random: Math.random,
    http: createHttp(),
    log,
    schedule(task, delayMs) {
      const timer = setTimeout(task, delayMs)
      return () => clearTimeout(timer)
    },
  })
  // Keys are asked for before the port is open, and a slow authority does not hold it closed.
  const started = app.start()
  await listen(app, config, io)
  log.info({ listen: config.listen, ...describe(config) }, 'listening')
  io.onStop(async ({ signal, err }) => {
    if (err) log.fatal({ err }, 'stopping after an error')
    log.info({ signal }, 'stopping')
    app.drain()
    // Requests still come until each HAProxy has seen that readiness is red.
    if (!err) await wait(drainMs)
    await app.close()
    log.flush()
  })
  await started
  log.info({ authorities: [...app.authorities.values()].map((a) => a.state()) }, 'keys read')
}

async function listen(app: App, { listen: { host, port } }: Config, io: CommandIo): Promise<void> {
  try {
    await app.verify.listen({ host, port, backlog: 4096 })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const reason =
      code === 'EADDRINUSE'
        ? 'the port is in use; stop the other program or set listen.port'
        : message
    io.stderr.write(`error: cannot listen on ${host}:${port}: ${reason}\n`)
    io.exit(exitCodes.unavailable)
  }
}

/** The effective configuration, without anything secret. */
function describe(config: Config): object {
  return {
    tenants: config.tenants.map(({ name, id, authority }) => ({ name, id, authority })),
    policies: config.policies.map(({ name, audiences }) => ({ name, audiences })),
    identityHeaders: config.identityHeaders,
    clockSkewSeconds: config.clockSkewSeconds,
    callerKey: config.callerKey !== undefined,
  }
}
