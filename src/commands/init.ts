import { type Command, Option } from 'commander'
import { TENANT_VARIABLES, variableOf } from '../config/environment.ts'
import { formatProblems, oneLine } from '../config/problems.ts'
import { audienceKinds, type Starter, writeStarter } from '../config/starter.ts'
import { type CommandIo, exitCodes } from './io.ts'

interface InitOptions {
  readonly config: string
  readonly tenant?: string
  readonly audience?: string
  readonly who?: Starter['who']
  readonly policy: string
  readonly cloud?: string
  readonly authority?: string
  readonly clientId?: string
  readonly hosts?: string
}

/** Longest answer in characters, and attempts that a person has for it. */
const maxAnswerLength = 4_096
const attempts = 3

/** Adds `init`. */
export function addInitCommand(program: Command, io: CommandIo): void {
  program
    .command('init')
    .description('write a first configuration file; asks three questions')
    .option('--config <file>', 'file to write; an existing one stays', 'config.yaml')
    .option('--tenant <id>', 'tenant id, a GUID')
    .option('--audience <ids>', 'client id and identifier URIs of the API, separated by commas')
    .addOption(new Option('--who <who>', 'who may call the API').choices(audienceKinds))
    .option('--policy <name>', 'name of the policy, which HAProxy passes', 'default')
    .addOption(new Option('--cloud <name>', 'cloud of the tenant, else public').choices(clouds))
    .option('--authority <url>', 'authority in place of that of the cloud')
    .option('--client-id <id>', 'client id of the web application, for sign-in with a browser')
    .option('--hosts <names>', 'hosts that people sign in at, separated by commas')
    .addHelpText(
      'after',
      `
It asks for what no option says, on a terminal or line by line from standard input. Variables such as
ENTRA_AUTH_TENANT_ID are taken as answers, so it also turns variables into a file.

Example: haproxy-entra-auth init --tenant 11111111-1111-4111-8111-111111111111 --audience api://orders --who both

Exit codes: 0 written, 1 not written, as the file exists or cannot be made, 64 wrong use or an answer
that cannot be right`,
    )
    .action((options: InitOptions) => init(options, io))
}

const clouds = ['public', 'usgov', 'china']

async function init(options: InitOptions, io: CommandIo): Promise<void> {
  // Before somebody answers questions in vain; what counts is the attempt to make the file.
  if (exists(options.config, io)) refuseExisting(options.config, io)
  const given = givenAnswers(options, io)
  const answers = createAnswers(io)
  const starter = await ask(given, options, answers)
  const result = await writeStarter(starter, io.env)
  if (!result.ok) {
    io.stderr.write(`${formatProblems(result.problems, 'the answers')}\n`)
    return io.exit(exitCodes.usage)
  }
  try {
    io.createFile(options.config, result.text)
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') refuseExisting(options.config, io)
    io.stderr.write(
      `error: ${oneLine(options.config)} cannot be written (${code}); name another place with --config FILE\n`,
    )
    return io.exit(exitCodes.failure)
  }
  io.stdout.write(describeNext(options.config, io))
}

/** The answers that options and variables give; an option counts before a variable. */
function givenAnswers(options: InitOptions, { env }: CommandIo): Record<string, string> {
  const optionOf: Readonly<Record<(typeof TENANT_VARIABLES)[number], string | undefined>> = {
    ENTRA_AUTH_TENANT_ID: options.tenant,
    ENTRA_AUTH_AUDIENCE: options.audience,
    ENTRA_AUTH_CLOUD: options.cloud,
    ENTRA_AUTH_AUTHORITY: options.authority,
    ENTRA_AUTH_CLIENT_ID: options.clientId,
    ENTRA_AUTH_HOSTS: options.hosts,
  }
  const found = TENANT_VARIABLES.flatMap((name) => {
    const value = optionOf[name] ?? variableOf(env, name)
    return value === undefined ? [] : [[name, value] as const]
  })
  return Object.fromEntries(found)
}

/** Asks for the tenant, the API and who may call it, as far as nothing says so yet. */
async function ask(
  given: Readonly<Record<string, string>>,
  { who, policy }: InitOptions,
  answers: Answers,
): Promise<Starter> {
  const signsIn = 'ENTRA_AUTH_CLIENT_ID' in given || 'ENTRA_AUTH_HOSTS' in given
  const variables = { ...given }
  // What is wrong already, before somebody answers questions in vain.
  for (const { name, option } of questions) {
    const fault = name in variables ? await judge(name, variables[name] ?? '') : undefined
    if (fault !== undefined) answers.refuse(option, fault)
  }
  for (const { name, option, question } of questions) {
    if (name in variables || (signsIn && name === 'ENTRA_AUTH_AUDIENCE')) continue
    variables[name] = await answers.next(question, option, (answer) => judge(name, answer))
  }
  const askedWho = 'ENTRA_AUTH_AUDIENCE' in variables ? who : 'both'
  const chosen =
    askedWho ??
    (await answers.next('Who may call it: users, apps or both? [both] ', '--who', async (answer) =>
      answer === '' || isWho(answer) ? undefined : 'must be users, apps or both.',
    ))
  return { variables, who: isWho(chosen) ? chosen : 'both', policy }
}

/** What is wrong with one answer; the others of the first configuration are examples. */
async function judge(name: string, answer: string): Promise<string | undefined> {
  const variables = {
    ENTRA_AUTH_TENANT_ID: '00000000-0000-4000-8000-000000000000',
    ENTRA_AUTH_AUDIENCE: 'api://example',
    [name]: answer,
  }
  const result = await writeStarter({ variables, who: 'both', policy: 'default' }, {})
  const [problem] = result.ok ? [] : result.problems
  return problem && `${problem.message}. ${problem.hint}`
}

const questions = [
  {
    name: 'ENTRA_AUTH_TENANT_ID',
    option: '--tenant',
    question: 'Tenant id (a GUID; "az account show --query tenantId" prints it): ',
  },
  {
    name: 'ENTRA_AUTH_AUDIENCE',
    option: '--audience',
    question: 'Client id and identifier URIs of the API, separated by commas: ',
  },
] as const

function isWho(text: string): text is Starter['who'] {
  return (audienceKinds as readonly string[]).includes(text)
}

interface Answers {
  /**
   * Asks and returns an answer that `judge` finds no fault with. On a terminal a wrong answer is asked
   * for again; elsewhere, and where no answer comes, the program ends with 64.
   */
  next(
    question: string,
    option: string,
    judge: (answer: string) => Promise<string | undefined>,
  ): Promise<string>
  /** Ends the program with 64: an answer cannot be right. */
  refuse(option: string, fault: string): never
}

function createAnswers(io: CommandIo): Answers {
  let lines: AsyncIterator<string> | undefined
  const refuse = (option: string, fault: string): never => {
    io.stderr.write(`error: ${option} ${oneLine(fault)}\n`)
    return io.exit(exitCodes.usage)
  }
  return {
    refuse,
    async next(question, option, judge) {
      lines ??= linesOf(io.stdin)
      const isAsked = io.stdin.isTTY === true
      let fault = `is missing; give it, or answer the question on standard input`
      for (let attempt = 0; attempt < (isAsked ? attempts : 1); attempt++) {
        if (isAsked) io.stderr.write(question)
        const { done, value } = await lines.next()
        if (done) break
        const answer = value.trim()
        const found = answer.length > maxAnswerLength ? 'is too long.' : await judge(answer)
        if (found === undefined) return answer
        fault = found
        if (isAsked) io.stderr.write(`  ${oneLine(found)}\n`)
      }
      return refuse(option, fault)
    },
  }
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest = ''
  const decoder = new TextDecoder()
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true })
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    yield* lines
    // Whatever sends no line end is no answer.
    if (rest.length > maxAnswerLength) break
  }
  if (rest !== '') yield rest
}

function exists(path: string, io: CommandIo): boolean {
  try {
    return io.exists(path)
  } catch {
    // The attempt to write says why.
    return false
  }
}

function refuseExisting(path: string, io: CommandIo): never {
  io.stderr.write(
    `error: ${oneLine(path)} exists and stays as it is; name another file with --config FILE\n`,
  )
  return io.exit(exitCodes.failure)
}

function describeNext(path: string, { env }: CommandIo): string {
  const name = /^[\w./-]+$/.test(path) ? path : `'${oneLine(path).replaceAll("'", "'\\''")}'`
  const set = TENANT_VARIABLES.filter((variable) => variableOf(env, variable) !== undefined)
  return [
    `written: ${oneLine(path)}`,
    '',
    'Next:',
    ...(set.length > 0 ? [`  unset ${set.join(' ')}`] : []),
    `  haproxy-entra-auth check --config ${name}`,
    `  haproxy-entra-auth haproxy-config --config ${name} > haproxy.cfg`,
    `  haproxy-entra-auth serve --config ${name}`,
    '',
  ].join('\n')
}
