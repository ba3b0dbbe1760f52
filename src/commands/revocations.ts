import { type Command, Option } from 'commander'
import { revocationKinds } from '../revocation/revocation.ts'
import { type CommandIo, exitCodes } from './io.ts'

interface AdminOptions {
  readonly adminUrl: string
  readonly adminKeyFile?: string
}

interface AddOptions extends AdminOptions {
  readonly reason?: string
  readonly before?: string
  readonly until?: string
}

const kindHelp = Object.entries(revocationKinds)
  .map(([kind, form]) => `  ${kind.padEnd(7)} ${form}`)
  .join('\n')

/** Adds `revocations list | add | remove`, which ask the admin listener of a running service. */
export function addRevocationCommands(program: Command, io: CommandIo): void {
  const revocations = program
    .command('revocations')
    .description('list, add and remove revocations of a running service')
    .addHelpText(
      'after',
      `
Kinds and their ids:
${kindHelp}

Tokens issued before a revocation count no more, at the service at once and in HAProxy's cache within
about a second. Entra dates tokens up to five minutes back: one fetched right after a revocation may
be refused for that long.

Exit codes: 0 done, 1 refused, 64 wrong use, 69 no answer from the admin listener`,
    )
  adminCommand(revocations, 'list', 'print the revocations as JSON').action(
    async (options: AdminOptions) => {
      const { body } = await call(io, options, 'GET', '')
      io.stdout.write(`${JSON.stringify(JSON.parse(body), null, 2)}\n`)
    },
  )
  adminCommand(revocations, 'add', 'revoke a user, client, token, tenant or key')
    .argument('<kind>', Object.keys(revocationKinds).join(', '))
    .argument('<id>')
    .option('--reason <text>', 'why, for the list and the log')
    .option('--before <time>', 'tokens issued before this, ISO 8601 (default: now)')
    .option(
      '--until <time>',
      'end of the revocation, ISO 8601 (default: when no token from before can be valid)',
    )
    .action(async (kind: string, id: string, options: AddOptions) => {
      const { reason } = options
      const body = {
        kind,
        id,
        ...readTime('before', options.before, io),
        ...readTime('until', options.until, io),
        ...(reason !== undefined && { reason }),
      }
      await call(io, options, 'POST', '', body)
      io.stdout.write(`revoked: ${kind} ${id}\n`)
    })
  adminCommand(revocations, 'remove', 'end a revocation before its time')
    .argument('<kind>')
    .argument('<id>')
    .action(async (kind: string, id: string, options: AdminOptions) => {
      await call(io, options, 'DELETE', `?${new URLSearchParams({ kind, id })}`)
      io.stdout.write(`no longer revoked: ${kind} ${id}\n`)
    })
}

function adminCommand(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .addOption(
      new Option('--admin-url <url>', 'admin listener of the service').default(
        'http://127.0.0.1:9091',
      ),
    )
    .option('--admin-key-file <file>', 'file that holds the admin key')
}

async function call(
  io: CommandIo,
  options: AdminOptions,
  method: string,
  query: string,
  body?: object,
): Promise<{ body: string }> {
  const { adminUrl, adminKeyFile } = options
  const key = adminKeyFile === undefined ? undefined : readKey(adminKeyFile, io)
  const reply = await (io.fetch ?? fetch)(`${adminUrl.replace(/\/$/, '')}/revocations${query}`, {
    method,
    headers: {
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
    redirect: 'error',
    signal: AbortSignal.timeout(10_000),
  }).catch((error: Error) =>
    stop(io, exitCodes.unavailable, `no answer from ${adminUrl}: ${describe(error)}`),
  )
  const text = await reply.text()
  if (reply.ok) return { body: text }
  return stop(io, exitCodes.failure, readSentence(text) ?? `${adminUrl} answered ${reply.status}`)
}

function readKey(file: string, io: CommandIo): string {
  try {
    return io.readFile(file).trim()
  } catch {
    return stop(io, exitCodes.usage, `${file} cannot be read; --admin-key-file names a file`)
  }
}

function readTime(name: string, text: string | undefined, io: CommandIo): Record<string, number> {
  if (text === undefined) return {}
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) {
    return stop(io, exitCodes.usage, `--${name} must be a time like 2030-01-31T12:00:00Z`)
  }
  return { [name]: Math.floor(ms / 1000) }
}

function readSentence(text: string): string | undefined {
  try {
    const { error_description } = JSON.parse(text)
    return typeof error_description === 'string' ? error_description : undefined
  } catch {
    return undefined
  }
}

function describe(error: Error): string {
  return error.cause instanceof Error ? error.cause.message : error.message
}

function stop(io: CommandIo, code: number, sentence: string): never {
  io.stderr.write(`error: ${sentence}\n`)
  return io.exit(code)
}
