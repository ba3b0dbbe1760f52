import { randomBytes } from 'node:crypto'
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import { isLoopback } from '../loopback.ts'
import { nearest } from '../nearest.ts'
import { type Screen, screenOf, wrap } from '../terminal.ts'
import { buildDevEntra, defaultPort } from './app.ts'
import type { Flavour } from './context.ts'
import { clients, contoso, ordersApi } from './directory.ts'
import { faultKinds, faultTargets, isFaultKind } from './faults.ts'
import { findPersona, nearPersona, noPersona, personas } from './personas.ts'
import { refusalKinds } from './refusals.ts'
import { createTlsIdentity } from './tls.ts'
import { refuseCommand } from './unknown-command.ts'

/** What the commands need from the process. */
export interface DevEntraIo {
  readonly stdout: {
    write(text: string): unknown
    readonly isTTY?: boolean
    readonly columns?: number
  }
  readonly stderr: { write(text: string): unknown }
  readonly env: Readonly<Record<string, string | undefined>>
  /** Clock, ms since the epoch. */
  readonly now: () => number
  /** Writes a text file, or throws. */
  readonly writeFile: (path: string, text: string) => void
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  /** Told once `serve` listens, with its origin and the way to stop it. */
  readonly onListen?: (running: { origin: string; close: () => Promise<void> }) => void
}

interface ServeOptions {
  host: string
  port: number
  allowRemote?: boolean
  origin?: string
  flavour: Flavour
  identifierUri?: string[]
  redirectUri?: string[]
  tls?: string
}

interface TokenOptions {
  url?: string
  audience?: string
  tenant?: string
  scope?: string[]
  role?: string[]
  version?: '1.0' | '2.0'
  idToken?: boolean
  expiresIn?: number
  claim?: Record<string, unknown>
}

/** Exit codes as of all commands: wrong use, and what cannot be reached or listened on. */
const usage = 64
const unavailable = 69

const startHint = 'start it with: haproxy-entra-auth dev-entra serve'

/**
 * Adds `dev-entra` with serve, token, personas, rotate, withdraw, fault and reset. Errors are one
 * line on stderr, by way of commander's own error handling. Exit codes: 1 refused, 64 wrong use, 69
 * no answer or no port.
 */
export function addDevEntraCommands(program: Command, io: DevEntraIo): void {
  // Else `--version` of the program would swallow that of `token`.
  program.enablePositionalOptions()
  const devEntra = program
    .command('dev-entra')
    .description('a stand-in for Microsoft Entra ID on loopback, for development and tests')
  addServe(devEntra, io)
  addToken(devEntra, io)
  devEntra
    .command('personas')
    .description('list the personas')
    .action(() => {
      io.stdout.write(listPersonas(screenOf(io.stdout, io.env)))
    })
  addRemote(devEntra, io, 'rotate', 'sign with a new key; the old ones stay published')
  addRemote(devEntra, io, 'withdraw', 'publish the current key only')
  addRemote(devEntra, io, 'reset', 'end all faults and set the request counts to zero')
  addFault(devEntra, io)
  addRefusals(devEntra, io)
}

function addServe(devEntra: Command, io: DevEntraIo): void {
  devEntra
    .command('serve', { isDefault: true })
    .description('run dev-entra (the default)')
    // A mistyped command comes here as an argument.
    .allowExcessArguments()
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <number>', 'port to listen on, 0 for any', readPort, defaultPort)
    .option('--allow-remote', 'listen beyond loopback; wants DEV_ENTRA_ALLOW_REMOTE=yes as well')
    .option('--origin <url>', 'origin in issuers and URLs (default: where it listens)')
    .addOption(
      new Option('--flavour <name>', 'kind of authority')
        .choices(['entra', 'external-id'])
        .default('entra'),
    )
    .option(
      '--identifier-uri <uri>',
      'one more identifier URI of the orders API, repeatable',
      append,
    )
    .option('--redirect-uri <uri>', 'one more redirect URI of the portal, repeatable', append)
    .option(
      '--tls <file>',
      'HTTPS with a new certificate, written to this file for clients to trust; MSAL wants HTTPS',
    )
    .action(async (options: ServeOptions, command: Command) => {
      const [surplus] = command.args
      if (surplus !== undefined) refuseCommand(devEntra, surplus)
      const remote = !isLoopback(options.host)
      if (remote && !(options.allowRemote && io.env.DEV_ENTRA_ALLOW_REMOTE === 'yes')) {
        command.error(
          `error: dev-entra hands out tokens to anybody, so it does not listen on ${options.host}; use a loopback address, or give --allow-remote and DEV_ENTRA_ALLOW_REMOTE=yes`,
          { exitCode: usage },
        )
      }
      if (options.origin !== undefined && !isOrigin(options.origin)) {
        command.error(`error: --origin must be like http://127.0.0.1:8400, not ${options.origin}`, {
          exitCode: usage,
        })
      }
      const tls = options.tls === undefined ? undefined : await createTls(options, io, command)
      const app = buildDevEntra({
        now: io.now,
        flavour: options.flavour,
        allowRemote: remote,
        ...(options.identifierUri ? { identifierUris: options.identifierUri } : {}),
        ...(options.redirectUri ? { redirectUris: options.redirectUri } : {}),
        ...(options.origin === undefined ? {} : { origin: options.origin }),
        ...(tls && { tls }),
      })
      const address = await app
        .listen({ host: options.host, port: options.port })
        .catch((failure: Error) =>
          command.error(`error: cannot listen: ${failure.message}`, { exitCode: unavailable }),
        )
      const origin = options.origin ?? address
      io.stdout.write(
        `dev-entra listens on ${address}; it is not Entra, its tokens prove nothing\n` +
          `tenant    ${contoso.id} (contoso)\n` +
          `authority ${origin}\n` +
          `audience  ${ordersApi.appId}, ${ordersApi.identifierUris[0]}\n` +
          (options.tls === undefined ? '' : `trust     NODE_EXTRA_CA_CERTS=${options.tls}\n`),
      )
      io.onListen?.({ origin, close: () => app.close() })
    })
}

/** Makes the TLS identity for the hosts of these options and writes its certificate. */
async function createTls(options: ServeOptions, io: DevEntraIo, command: Command) {
  const origin = options.origin && new URL(options.origin).hostname.replace(/^\[(.*)\]$/, '$1')
  const identity = await createTlsIdentity(io.now, randomBytes, [
    options.host,
    ...(origin ? [origin] : []),
  ])
  try {
    io.writeFile(options.tls ?? '', identity.cert)
  } catch (failure) {
    command.error(`error: cannot write the certificate: ${(failure as Error).message}`)
  }
  return identity
}

function addToken(devEntra: Command, io: DevEntraIo): void {
  addUrl(devEntra.command('token'))
    .addArgument(personaArgument())
    .description('print a token of a persona')
    .option('--audience <uri or id>', `API that the token is for (default: ${ordersApi.name})`)
    .option('--tenant <tenant>', "tenant id, name or domain (default: the persona's)")
    .option('--scope <name>', "scope instead of the persona's, repeatable", append)
    .option('--role <name>', "role instead of the persona's, repeatable", append)
    .addOption(new Option('--version <version>', 'token version').choices(['1.0', '2.0']))
    .option('--id-token', 'an ID token instead of an access token')
    .option('--expires-in <seconds>', 'lifetime; negative for an expired token', readInteger)
    .option('--claim <name=json>', 'a claim to set, repeatable', readClaim)
    .action(async (persona: string, options: TokenOptions, command: Command) => {
      const { audience, tenant, scope, role, version, idToken, expiresIn, claim } = options
      // Another one is for dev-entra to refuse, which may be of another version.
      if (!findPersona(persona) && nearPersona(persona)) {
        command.error(`error: ${noPersona(persona)}`, { exitCode: usage })
      }
      const reply = await post('/dev/token', io, command, {
        persona,
        ...(audience === undefined ? {} : { audience }),
        ...(tenant === undefined ? {} : { tenant }),
        ...(claim === undefined ? {} : { claims: claim }),
        ...(scope === undefined ? {} : { scopes: scope }),
        ...(role === undefined ? {} : { roles: role }),
        ...(version === undefined ? {} : { version }),
        ...(idToken === undefined ? {} : { idToken }),
        ...(expiresIn === undefined ? {} : { expiresInSeconds: expiresIn }),
      })
      io.stdout.write(`${reply.token}\n`)
    })
}

function addFault(devEntra: Command, io: DevEntraIo): void {
  const effects = Object.entries(faultKinds).map(([kind, { effect }]) => `  ${kind}: ${effect}`)
  addUrl(devEntra.command('fault'))
    .description('make an endpoint fail until told otherwise')
    .addArgument(listedArgument('<kind>', 'what fails', Object.keys(faultKinds)))
    .addOption(
      new Option('--target <endpoint>', 'endpoint that fails')
        .choices(faultTargets)
        .default('keys'),
    )
    .option('--ms <number>', 'delay of the fault "slow" in ms', readInteger)
    .addHelpText('after', `\nKinds:\n${effects.join('\n')}`)
    .action(
      async (kind: string, { target, ms }: { target: string; ms?: number }, command: Command) => {
        if (!isFaultKind(kind)) {
          refuseWord('fault', kind, Object.keys(faultKinds), command)
        }
        await post('/dev/fault', io, command, { target, kind, ...(ms === undefined ? {} : { ms }) })
        io.stdout.write(`${target}: ${kind}\n`)
      },
    )
}

function addRefusals(devEntra: Command, io: DevEntraIo): void {
  const kinds = Object.entries(refusalKinds).map(([kind, { code }]) => `  ${kind}: AADSTS${code}`)
  const send = async (subject: string, kind: string, command: Command) => {
    checkSubject(subject, command)
    await post('/dev/refusal', io, command, { subject, kind })
    io.stdout.write(`${subject}: ${kind === 'none' ? 'admitted' : kind}\n`)
  }
  addUrl(devEntra.command('disable'))
    .addArgument(personaArgument())
    .description('disable a person: sessions end, refresh tokens are revoked, no sign-in')
    .action((persona: string, _options: unknown, command: Command) =>
      send(persona, 'disabled', command),
    )
  addUrl(devEntra.command('enable'))
    .argument('<persona-or-client>', 'for example alice, or portal')
    .description('end what disable or refuse did')
    .action((subject: string, _options: unknown, command: Command) =>
      send(subject, 'none', command),
    )
  addUrl(devEntra.command('refuse'))
    .description('refuse sign-ins of a person or at a client, as Entra does')
    .argument('<persona-or-client>', 'for example alice, or portal')
    .addArgument(listedArgument('<kind>', 'how Entra refuses', Object.keys(refusalKinds)))
    .addHelpText('after', `\nKinds:\n${kinds.join('\n')}`)
    .action(async (subject: string, kind: string, _options: unknown, command: Command) => {
      if (!Object.hasOwn(refusalKinds, kind)) {
        refuseWord('refusal', kind, Object.keys(refusalKinds), command)
      }
      await send(subject, kind, command)
    })
}

/** Help and completion show the values; the action refuses others, with the nearest one. */
function listedArgument(name: string, about: string, values: readonly string[]): Argument {
  const argument = new Argument(name, about)
  argument.argChoices = [...values]
  return argument
}

function personaArgument(): Argument {
  return listedArgument(
    '<persona>',
    'who; "dev-entra personas" says more',
    personas.map(({ name }) => name),
  )
}

/** Ends with 64 where a person or client is mistyped; others are for dev-entra, of any version, to judge. */
function checkSubject(subject: string, command: Command): void {
  const clientNames: string[] = Object.values(clients).map(({ name }) => name)
  if (findPersona(subject) || clientNames.includes(subject)) return
  const names = [...personas.map(({ name }) => name), ...clientNames]
  if (nearest(subject, names) !== undefined) refuseWord('person or client', subject, names, command)
}

/** Ends with 64: a word that is none of the known ones, and the one that was meant, most likely. */
function refuseWord(what: string, word: string, known: readonly string[], command: Command): never {
  const near = nearest(word, known)
  const advice = near === undefined ? `there are: ${known.join(', ')}` : `did you mean "${near}"?`
  return command.error(`error: there is no ${what} "${word}"; ${advice}`, { exitCode: usage })
}

function addRemote(devEntra: Command, io: DevEntraIo, name: string, description: string): void {
  addUrl(devEntra.command(name))
    .description(description)
    .action(async (_options: unknown, command: Command) => {
      const reply = await post(`/dev/${name}`, io, command)
      io.stdout.write(`${JSON.stringify(reply)}\n`)
    })
}

function addUrl(command: Command): Command {
  return command.option('--url <url>', 'running dev-entra (default: DEV_ENTRA_URL or port 8400)')
}

async function post(
  path: string,
  io: DevEntraIo,
  command: Command,
  body: object = {},
): Promise<Record<string, unknown>> {
  const { url } = command.opts<{ url?: string }>()
  const base = url ?? io.env.DEV_ENTRA_URL ?? `http://127.0.0.1:${defaultPort}`
  if (!isOrigin(base)) {
    command.error(`error: --url must be like http://127.0.0.1:${defaultPort}, not ${base}`, {
      exitCode: usage,
    })
  }
  const response = await (io.fetch ?? fetch)(new URL(path, base), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }).catch((failure: Error) =>
    command.error(describeFailure(failure, base), { exitCode: unavailable }),
  )
  const reply = readObject(await response.text().catch(() => ''))
  if (response.ok && reply) return reply
  const reason = reply?.message ?? `HTTP status ${response.status}`
  return command.error(`error: dev-entra at ${base} refused: ${reason}`)
}

function describeFailure(failure: Error, base: string): string {
  const { code } = (failure.cause ?? failure) as NodeJS.ErrnoException
  // Node's codes for a certificate that nobody vouches for.
  return code !== undefined && /SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/.test(code)
    ? `error: the certificate of ${base} is not trusted; set NODE_EXTRA_CA_CERTS to the file that --tls wrote`
    : `error: no dev-entra answers at ${base}; ${startHint}`
}

function readObject(text: string): Record<string, unknown> | undefined {
  try {
    return { ...JSON.parse(text) }
  } catch {
    return undefined
  }
}

function listPersonas(screen: Screen): string {
  const width = Math.max(...personas.map(({ name }) => name.length)) + 2
  const lines = personas.flatMap(({ name, about }) =>
    screen.isTerminal
      ? wrap(name, about, 0, width, { screen, style: 'heading' })
      : [`${name.padEnd(width)}${about}`],
  )
  return `${lines.join('\n')}\n`
}

function isOrigin(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)
}

function append(value: string, previous: string[] = []): string[] {
  return [...previous, value]
}

function readInteger(text: string): number {
  if (/^-?\d{1,12}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('It must be a whole number.')
}

function readPort(text: string): number {
  const port = readInteger(text)
  if (port >= 0 && port <= 65535) return port
  throw new InvalidArgumentError('It must be a port, 0 to 65535.')
}

function readClaim(text: string, previous: Record<string, unknown> = {}): Record<string, unknown> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('It must be like name=json.')
  try {
    return { ...previous, [text.slice(0, at)]: JSON.parse(text.slice(at + 1)) }
  } catch {
    throw new InvalidArgumentError(
      'The part after = must be JSON; quote text twice: name=\'"text"\'.',
    )
  }
}
