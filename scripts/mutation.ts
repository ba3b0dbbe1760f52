/**
 * Mutation tests of the folders that decide: Stryker changes the code in one place at a time, and
 * a change that no test notices is a survivor. `npm run test:mutation -- policy` runs one folder,
 * `npm run test:mutation -- sign-in/callback` one file.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { isInstalled } from './run.mjs'

const ROOT = resolve(import.meta.dirname, '..')
const TOOL = join(ROOT, 'mutation')
const OUTPUT = join(ROOT, '.cache', 'mutation')

/** Which tests look at which folder, the quick ones first: a survivor costs a run of each. */
const testsOf: Readonly<Record<string, readonly string[]>> = {
  token: [
    'unit/{claims,decode,verify-token,signature}.test.ts',
    'conformance/{tokens,actors,users,credentials,times,issuers}.test.ts',
    'attack/{algorithm-confusion,token-material}.test.ts',
  ],
  keys: [
    'unit/{discovery,keyring,key-store,authority,http,issuer-keys,elapsed-clock,proxy}.test.ts',
    'conformance/{issuers,keys}.test.ts',
  ],
  policy: [
    'unit/{policy,conditions,words,missing}.test.ts',
    'conformance/{policies,grants,actors,audiences,users}.test.ts',
  ],
  identity: ['unit/headers.test.ts', 'property/encode.test.ts', 'conformance/users.test.ts'],
  session: ['unit/{sealing,session,session-edges}.test.ts', 'session/{key-folder,verify}.test.ts'],
  'sign-in': [
    'sign-in/{pages,login,own-revocations,id-token,navigation}.test.ts',
    'attack/open-redirect.test.ts',
    'sign-in/{entra,callback,sign-in,log,recheck,entra-errors,sign-out,auth,auth-headers,visit,part,edges,reload,listener}.test.ts',
    'attack/{redirect-after-sign-in,sign-in-markup,sign-in-hosts,framing,sign-in-caching,id-tokens,state-and-code,answers-that-race}.test.ts',
    'attack/{session-fixation,nonce,pkce-left-out,forged-sign-in,old-sealing-keys,cookies-of-others}.test.ts',
    'sign-in/replicas.test.ts',
    'attack/sign-in-floods.test.ts',
  ],
}

interface Report {
  readonly files: Readonly<Record<string, { readonly mutants: readonly { status: string }[] }>>
}

function install(): void {
  if (isInstalled(TOOL)) return
  const args = ['ci', '--prefix', TOOL, '--ignore-scripts', '--no-audit', '--no-fund']
  if (spawnSync('npm', args, { stdio: 'inherit' }).status !== 0) process.exit(1)
}

/** Runs `folder` or `folder/file` and returns the row that it gets in the table. */
function mutate(part: string): string {
  const [folder = '', file] = part.split('/')
  const name = part.replace('/', '-')
  const config = join(OUTPUT, `${name}.config.json`)
  const report = join(OUTPUT, `${name}.json`)
  rmSync(report, { force: true })
  writeFileSync(
    config,
    JSON.stringify({
      plugins: ['@stryker-mutator/tap-runner'],
      testRunner: 'tap',
      tap: {
        testFiles: testsOf[folder]?.map((pattern) => `test/${pattern}`),
        nodeArgs: ['--test-reporter=tap', '-r', '{{hookFile}}', '{{testFile}}'],
      },
      coverageAnalysis: 'perTest',
      mutate: [file ? `src/${folder}/${file}.ts` : `src/${folder}/**/*.ts`],
      // Stryker would rewrite tsconfig.json with a library that TypeScript 7 does not have.
      ignorePatterns: ['.cache', 'mutation', 'toolchain', 'bench', 'docs', 'tsconfig*.json'],
      concurrency: Math.min(2, availableParallelism()),
      // So long that a busy machine does not make a slow run count as a kill.
      timeoutMS: 60_000,
      tempDirName: '.cache/mutation/sandbox',
      reporters: ['progress-append-only', 'clear-text', 'html', 'json'],
      clearTextReporter: { logTests: false, allowEmojis: false, reportTests: false },
      htmlReporter: { fileName: join(OUTPUT, `${name}.html`) },
      jsonReporter: { fileName: report },
      allowConsoleColors: false,
    }),
  )
  const stryker = join(TOOL, 'node_modules', '@stryker-mutator', 'core', 'bin', 'stryker.js')
  const { status } = spawnSync(process.execPath, [stryker, 'run', config, ...extra], {
    cwd: ROOT,
    stdio: 'inherit',
    // Thousands of processes run the same code, so its types are stripped and it is compiled once.
    env: { ...process.env, NODE_COMPILE_CACHE: join(OUTPUT, 'compiled') },
  })
  if (status !== 0) process.exit(status ?? 1)
  // None where Stryker was told to stop after its first run.
  if (!existsSync(report)) return `${part}: no mutant was run`
  const { files } = JSON.parse(readFileSync(report, 'utf8')) as Report
  const mutants = Object.values(files).flatMap((file) => file.mutants)
  const count = (...statuses: string[]) =>
    mutants.filter((mutant) => statuses.includes(mutant.status)).length
  const killed = count('Killed', 'Timeout')
  const survived = count('Survived', 'NoCoverage')
  const score = ((100 * killed) / (killed + survived)).toFixed(1)
  return `${part}: ${killed} killed, ${survived} survived, ${score} %`
}

const extra = process.argv.slice(2).filter((argument) => argument.startsWith('-'))
const chosen = process.argv.slice(2).filter((argument) => !argument.startsWith('-'))
const parts = chosen.length > 0 ? chosen : Object.keys(testsOf)
const unknown = parts.find((part) => !Object.hasOwn(testsOf, part.split('/')[0] ?? ''))
if (unknown) {
  process.stderr.write(`${unknown} is none of ${Object.keys(testsOf).join(', ')}\n`)
  process.exit(64)
}
install()
mkdirSync(OUTPUT, { recursive: true })
const rows = parts.map(mutate)
process.stdout.write(`\n${rows.join('\n')}\n`)
