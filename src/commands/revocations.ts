import { Argument, type Command, Option } from 'commander'
import { variableOf } from '../config/environment.ts'
import { oneLine, quote } from '../config/problems.ts'
import { nearest } from '../nearest.ts'
import { parseRevocation, type Revocation, revocationKinds } from '../revocation/revocation.ts'
import { formatJson, type Screen, screenOf, wrap } from '../terminal.ts'
import { type CommandIo, exitCodes } from './io.ts'

interface AdminOptions {
  readonly adminUrl?: string
  readonly adminKeyFile?: string
}

interface ListOptions extends AdminOptions {
  readonly json?: boolean
}

interface AddOptions extends AdminOptions {
  readonly reason?: string
  readonly before?: string
  readonly until?: string
}

interface RemoveOptions extends AdminOptions {
  readonly newTokensOnly?: boolean
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
about a second. A new sign-in gets in: disable the account in Entra too. Entra dates tokens up to five
minutes back: one fetched right after a revocation may be refused for that long.

Variables: ENTRA_AUTH_ADMIN_URL and ENTRA_AUTH_ADMIN_KEY_FILE stand for the options; the service keeps
revocations in ENTRA_AUTH_REVOCATION_FILE, or where the configuration says.

Exit codes: 0 done, 1 refused, 64 wrong use, 69 no answer from the admin listener`,
    )
  adminCommand(revocations, 'list', 'print the revocations as a table')
    .option('--json', 'JSON in place of the table')
    .action(async (options: ListOptions) => {
      const { revocations: entries } = await readList(io, options)
      io.stdout.write(
        options.json
          ? formatJson({ revocations: entries })
          : formatTable(entries, io.now(), screenOf(io.stdout, io.env)),
      )
    })
  adminCommand(revocations, 'add', 'revoke a user, client, token, session, tenant or key')
    .addArgument(kindArgument())
    .argument('<id>', 'its id; the form for each kind: haproxy-entra-auth revocations --help')
    .option('--reason <text>', 'why, for the list and the log')
    .option('--before <time>', 'tokens issued before this, ISO 8601 (default: now)')
    .option(
      '--until <time>',
      'end of the revocation, ISO 8601 (default: when no token from before can be valid; for a key, ten years)',
    )
    .action(async (kind: string, id: string, options: AddOptions) => {
      const { reason } = options
      checkKind(kind, io)
      const named = parseRevocation({ kind, id, before: 0, until: 0 })
      if (typeof named === 'string') stop(io, exitCodes.usage, named)
      const body = {
        kind,
        id,
        ...readTime('before', options.before, io),
        ...readTime('until', options.until, io),
        ...(reason !== undefined && { reason }),
      }
      const added = await call(io, options, 'POST', '', body)
      io.stdout.write(`revoked: ${kind} ${id}\n${formatNotes(noteAdded(added as Revocation), io)}`)
    })
  adminCommand(revocations, 'remove', 'end a revocation before its time')
    .addArgument(kindArgument())
    .argument('<id>', 'its id, as "revocations list" shows it')
    .option('--new-tokens-only', 'admit tokens that are issued from now on, and none from before')
    .action(async (kind: string, id: string, options: RemoveOptions) => {
      checkKind(kind, io)
      if (options.newTokensOnly) return admitNewTokens(kind, id, options, io)
      await call(io, options, 'DELETE', `?${new URLSearchParams({ kind, id })}`)
      io.stdout.write(`no longer revoked: ${kind} ${id}\n${formatNotes(noteRemoved(kind), io)}`)
    })
}

/** Kinds whose revocation counts for tokens from before it alone. */
const dated: ReadonlySet<string> = new Set(['user', 'client', 'tenant'])

function noteAdded({ kind, before, until }: Revocation): readonly string[] {
  if (!dated.has(kind)) return [`It ends at ${formatTime(until)}.`]
  const notes = [
    `Tokens and sessions from before ${formatTime(before)} count no more. It ends at ${formatTime(until)}, when none of them can be valid.`,
  ]
  const how = {
    user: 'A new sign-in gets in. To prevent it, disable the account in Entra too.',
    client:
      'A new token of this client gets in. To prevent it, disable the application in Entra too.',
    tenant: 'A new sign-in gets in. To prevent it, remove the tenant from the configuration too.',
  }
  return [...notes, how[kind as keyof typeof how]]
}

function noteRemoved(kind: string): readonly string[] {
  if (!dated.has(kind)) return ['It counts again until it expires.']
  return [
    'Tokens and sessions from before count again until they expire.',
    'To admit new ones only, add the revocation again with "revocations add" and keep it: it rejects only tokens from before it. One that is dated ahead takes "remove --new-tokens-only".',
  ]
}

/** Lets tokens in that are issued from now on; those from before stay refused. */
async function admitNewTokens(
  kind: string,
  id: string,
  options: AdminOptions,
  io: CommandIo,
): Promise<void> {
  if (!dated.has(kind)) {
    stop(io, exitCodes.usage, `--new-tokens-only is for the kinds ${[...dated].join(', ')}`)
  }
  const { revocations } = await readList(io, options)
  const named = parseRevocation({ kind, id, before: 0, until: 0 })
  if (typeof named === 'string') return stop(io, exitCodes.failure, named)
  const found = revocations.find((one) => one.kind === named.kind && one.id === named.id)
  if (!found)
    return stop(
      io,
      exitCodes.failure,
      `no such revocation: ${kind} ${id}; "revocations list" shows all`,
    )
  if (found.before * 1000 <= io.now()) {
    io.stdout.write(
      `nothing to change: tokens issued from ${formatTime(found.before)} on count already, and earlier ones do not\n`,
    )
    return
  }
  const { reason } = found
  // Without an end of its own: the service takes the later one, and a reload that lengthens the lifetime of
  // tokens lengthens it.
  await call(io, options, 'POST', '', { kind, id, ...(reason !== undefined && { reason }) })
  io.stdout.write(
    `new tokens count again: ${kind} ${id}\n${formatNotes(['Those from before stay refused.'], io)}`,
  )
}

/** Ends with 64 for a kind that there is not. */
function checkKind(kind: string, io: CommandIo): void {
  if (Object.hasOwn(revocationKinds, kind)) return
  const kinds = Object.keys(revocationKinds)
  const near = nearest(kind, kinds)
  const advice = near === undefined ? `there are: ${kinds.join(', ')}` : `did you mean ${near}?`
  stop(io, exitCodes.usage, `there is no kind ${quote(kind)}; ${advice}`)
}

/** Help and completion show the kinds; `checkKind` refuses others, with the nearest one. */
function kindArgument(): Argument {
  const argument = new Argument('<kind>', 'what is revoked')
  argument.argChoices = Object.keys(revocationKinds)
  return argument
}

function adminCommand(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .addOption(
      new Option(
        '--admin-url <url>',
        'admin listener of the service (default: ENTRA_AUTH_ADMIN_URL, else http://127.0.0.1:9091)',
      ),
    )
    .option(
      '--admin-key-file <file>',
      'file that holds the admin key (default: ENTRA_AUTH_ADMIN_KEY_FILE)',
    )
}

async function readList(
  io: CommandIo,
  options: AdminOptions,
): Promise<{ readonly revocations: readonly Revocation[] }> {
  const list = (await call(io, options, 'GET', '')) as { readonly revocations: Revocation[] }
  if (Array.isArray(list.revocations)) return list
  return stop(
    io,
    exitCodes.failure,
    'the answer is no list of revocations; --admin-url names the admin listener of the service',
  )
}

function formatTable(revocations: readonly Revocation[], nowMs: number, screen: Screen): string {
  if (revocations.length === 0) return 'nothing is revoked\n'
  const newestFirst = revocations.toSorted((a, b) => b.before - a.before)
  const rows = newestFirst.flatMap(({ kind, id, before, until, reason }) => [
    ...wrap(kind, id, 0, 9, { screen, style: 'heading' }),
    ...(dated.has(kind)
      ? wrap('', `from before ${formatTime(before)} (${formatDistance(before, nowMs)})`, 0, 9, {
          screen,
        })
      : []),
    ...wrap('', `until ${formatTime(until)} (${formatDistance(until, nowMs)})`, 0, 9, { screen }),
    ...(reason === undefined ? [] : wrap('', `reason: ${reason}`, 0, 9, { screen })),
  ])
  return `${rows.join('\n')}\n${revocations.length} in all\n`
}

function formatNotes(notes: readonly string[], { stdout, env }: CommandIo): string {
  const layout = { screen: screenOf(stdout, env) }
  return notes.map((note) => `${wrap('', note, 0, 2, layout).join('\n')}\n`).join('')
}

/** A time in seconds as people read it. */
function formatTime(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime())
    ? 'never'
    : `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

function formatDistance(seconds: number, nowMs: number): string {
  const distance = seconds - nowMs / 1000
  const span = Math.abs(distance)
  const text =
    span < 90
      ? `${Math.round(span)} s`
      : span < 90 * 60
        ? `${Math.round(span / 60)} min`
        : span < 48 * 3600
          ? `${Math.round(span / 3600)} h`
          : `${Math.round(span / 86400)} days`
  return distance < 0 ? `${text} ago` : `in ${text}`
}

async function call(
  io: CommandIo,
  options: AdminOptions,
  method: string,
  query: string,
  body?: object,
): Promise<object> {
  const adminUrl = options.adminUrl ?? variableOf(io.env, 'ENTRA_AUTH_ADMIN_URL') ?? defaultUrl(io)
  if (!/^https?:\/\//.test(adminUrl) || !URL.canParse(adminUrl)) {
    stop(
      io,
      exitCodes.usage,
      `${quote(adminUrl)} is no address; write one like http://127.0.0.1:9091`,
    )
  }
  const keyFile = options.adminKeyFile ?? variableOf(io.env, 'ENTRA_AUTH_ADMIN_KEY_FILE')
  const key = keyFile === undefined ? undefined : readKey(keyFile, io)
  const operator = operatorOf(io)
  const reply = await (io.fetch ?? fetch)(`${adminUrl.replace(/\/$/, '')}/revocations${query}`, {
    method,
    headers: {
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
      ...(operator !== undefined && { 'x-entra-auth-operator': operator }),
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
    redirect: 'error',
    signal: AbortSignal.timeout(10_000),
  }).catch((error: Error) =>
    stop(
      io,
      exitCodes.unavailable,
      `no answer from ${adminUrl}: ${describe(error)}; start the service, or name its admin listener with --admin-url`,
    ),
  )
  const text = await reply
    .text()
    .catch((error: Error) =>
      stop(io, exitCodes.unavailable, `no whole answer from ${adminUrl}: ${describe(error)}`),
    )
  if (reply.status === 204) return {}
  const answer = reply.ok ? readObject(text) : undefined
  if (answer) return answer
  const what = reply.ok ? 'answered with something else than JSON' : `answered ${reply.status}`
  return stop(io, exitCodes.failure, readSentence(text) ?? `${adminUrl} ${what}`)
}

/** The listener of a service in the same environment. */
function defaultUrl({ env }: CommandIo): string {
  const port = variableOf(env, 'ENTRA_AUTH_ADMIN_PORT')
  return `http://127.0.0.1:${port && /^[1-9]\d{0,4}$/.test(port) ? port : 9091}`
}

/** Who calls, for the log of the service; before sudo it was somebody else. */
function operatorOf({ env }: CommandIo): string | undefined {
  const name = variableOf(env, 'SUDO_USER') ?? variableOf(env, 'USER') ?? variableOf(env, 'LOGNAME')
  return name !== undefined && /^[\w.@\\-]{1,64}$/.test(name) ? name : undefined
}

function readKey(file: string, io: CommandIo): string {
  try {
    // The second line is the next key, while it is being replaced.
    return io.readFile(file).trim().split(/\s+/, 1)[0] ?? ''
  } catch {
    return stop(
      io,
      exitCodes.usage,
      `${file} cannot be read; --admin-key-file names a file that you may read`,
    )
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
  const { error_description: sentence } = (readObject(text) ?? {}) as Record<string, unknown>
  return typeof sentence === 'string' ? sentence : undefined
}

/** The object of a JSON text; undefined for anything else. */
function readObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function describe(error: Error): string {
  return error.cause instanceof Error ? error.cause.message : error.message
}

function stop(io: CommandIo, code: number, sentence: string): never {
  io.stderr.write(`error: ${oneLine(sentence)}\n`)
  return io.exit(code)
}
