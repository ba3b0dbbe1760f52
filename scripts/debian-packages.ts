/**
 * Extracts programs from Debian packages into a folder. Nothing is installed on the machine. The
 * sources are the machine's own apt entry with another suite name, so no address is written here.
 */
import { spawn } from 'node:child_process'
import { mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'

/** A program and the arguments that come before the caller's own. */
export interface Command {
  readonly command: string
  readonly args: readonly string[]
}

/** A program of Debian, and where it is. */
export interface DebianProgram {
  /** Its package. */
  readonly name: string
  /** Packages that are needed besides libraries. */
  readonly with?: readonly string[]
  /** The program in its package, such as `usr/sbin/haproxy`. */
  readonly file: string
  /** Suite that carries the program, and the one that carries its libraries. */
  readonly suite: string
  readonly libraries: string
  /** Argument that makes it print its version, and what must be in that. */
  readonly versionArgument: string
  readonly version: string
}

/**
 * The command that starts a program; downloads it into `home` on the first call. Rejects with a
 * one-line message where that is not possible (not a Debian, no network, no such version there).
 */
export async function debianCommand(program: DebianProgram, home: string): Promise<Command> {
  const known = await readCommand(home)
  if (known && (await answersAs(known, program))) return known
  return install(program, home)
}

async function readCommand(home: string): Promise<Command | undefined> {
  const text = await readFile(join(home, 'command.json'), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as Command)
}

async function answersAs(candidate: Command, program: DebianProgram): Promise<boolean> {
  const args = [...candidate.args, program.versionArgument]
  return (await run(candidate.command, args).catch(() => '')).includes(program.version)
}

async function install(program: DebianProgram, home: string): Promise<Command> {
  await rm(home, { recursive: true, force: true })
  await mkdir(home, { recursive: true })

  progress(program, `reading the package lists of ${program.suite}`)
  const apt = await prepareApt(program, join(home, 'apt'))
  await run('apt-get', [...apt, 'update'])

  const packages = await withLibraries(apt, [program.name, ...(program.with ?? [])])
  progress(program, `downloading ${packages.length} packages`)
  const root = join(home, 'root')
  await unpack(apt, packages, join(home, 'packages'), root)

  const command = await makeRunnable(apt, home, root, program.file)
  if (!(await answersAs(command, program))) {
    throw new Error(`Debian ${program.suite} has no ${program.version} that runs here`)
  }
  for (const rest of ['apt', 'packages']) await rm(join(home, rest), { recursive: true })
  // Written last: an interrupted download leaves no command behind and starts anew.
  await writeFile(join(home, 'command.json'), JSON.stringify(command))
  progress(program, `ready in ${home}`)
  return command
}

/** Options that make apt use folders of its own and these suites only; works without root. */
async function prepareApt(
  { name, suite, libraries }: DebianProgram,
  home: string,
): Promise<string[]> {
  const parts = join(home, 'sources.list.d')
  for (const folder of [parts, join(home, 'lists/partial'), join(home, 'cache/archives/partial')]) {
    await mkdir(folder, { recursive: true })
  }
  for (const each of new Set([suite, libraries])) {
    const { text, extension } = await sourcesOf(each, name)
    await writeFile(join(parts, `${each}.${extension}`), text)
  }
  // apt takes nothing from experimental unless it is told to: the program alone.
  const preferences = join(home, 'preferences')
  const pin = `Package: ${name}\nPin: release a=${suite}\nPin-Priority: 990\n`
  await writeFile(preferences, suite === libraries ? '' : pin)
  // Packages installed on this machine must not count, or apt would want exactly their versions.
  await writeFile(join(home, 'status'), '')
  const options = {
    'Dir::State::status': join(home, 'status'),
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': parts,
    'Dir::Etc::preferences': preferences,
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::State::lists': join(home, 'lists'),
    'Dir::Cache': join(home, 'cache'),
    'APT::Sandbox::User': 'root',
    'Acquire::Retries': '3',
    'Acquire::Languages': 'none',
  }
  return Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
}

/** This machine's own apt entry for its release, with the suite's name put in. */
async function sourcesOf(
  suite: string,
  program: string,
): Promise<{ text: string; extension: string }> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '')
  const codename = /^VERSION_CODENAME=(\S+)/m.exec(release)?.[1]
  if (!/^ID=debian$/m.test(release) || codename === undefined) {
    throw new Error(`this machine is no Debian: put ${program} on PATH, or name it in a variable`)
  }
  const folder = '/etc/apt/sources.list.d'
  const names = await readdir(folder).catch(() => [])
  for (const name of names.filter((one) => one.endsWith('.sources'))) {
    const text = stanzaFor(await readFile(join(folder, name), 'utf8'), codename, suite)
    if (text !== undefined) return { text, extension: 'sources' }
  }
  const lists = [
    '/etc/apt/sources.list',
    ...names.filter((one) => one.endsWith('.list')).map((one) => join(folder, one)),
  ]
  for (const path of lists) {
    const text = lineFor(await readFile(path, 'utf8').catch(() => ''), codename, suite)
    if (text !== undefined) return { text, extension: 'list' }
  }
  throw new Error(`no apt entry for ${codename} with the component main was found in /etc/apt`)
}

function stanzaFor(text: string, codename: string, suite: string): string | undefined {
  const suiteLine = /^Suites:.*$/m
  for (const stanza of text.split(/\n\s*\n/)) {
    const words = suiteLine.exec(stanza)?.[0].split(/\s+/) ?? []
    if (words.includes(codename) && /^Components:.*\bmain\b/m.test(stanza)) {
      return `${stanza.replace(suiteLine, `Suites: ${suite}`)}\n`
    }
  }
  return undefined
}

function lineFor(text: string, codename: string, suite: string): string | undefined {
  const line = text
    .split('\n')
    .find(
      (one) => /^deb\s/.test(one) && one.split(/\s+/).includes(codename) && /\bmain\b/.test(one),
    )
  return line?.replace(new RegExp(`\\s${codename}\\s.*`), ` ${suite} main\n`)
}

/** The packages and every library below them, libc too; read from the suite, so renames do not matter. */
async function withLibraries(apt: readonly string[], names: readonly string[]): Promise<string[]> {
  const only = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances']
  const output = await run('apt-cache', [
    ...apt,
    'depends',
    '--recurse',
    ...only.map((relation) => `--no-${relation}`),
    ...names,
  ])
  const below = new Map<string, string[]>()
  let current: string[] = []
  for (const line of output.split('\n')) {
    const dependency = /^ [ |](?:Pre)?Depends: (\S+)/.exec(line)?.[1]
    if (dependency !== undefined) current.push(dependency)
    else if (/^\S/.test(line)) {
      current = []
      below.set(line.trim(), current)
    }
  }
  const found = new Set(names)
  for (const name of found) {
    for (const one of below.get(name) ?? []) if (/^(lib|lua-)/.test(one)) found.add(one)
  }
  return [...found]
}

async function unpack(
  apt: readonly string[],
  packages: readonly string[],
  downloads: string,
  root: string,
): Promise<void> {
  await mkdir(downloads, { recursive: true })
  await run('apt-get', [...apt, 'download', ...packages], downloads)
  for (const file of await readdir(downloads))
    await run('dpkg', ['-x', join(downloads, file), root])
}

/**
 * A binary of another release needs that release's libc. Written into the binary with patchelf
 * where possible: HAProxy in master-worker mode executes itself again at a reload, which a loader
 * on the command line does not survive.
 */
async function makeRunnable(
  apt: readonly string[],
  home: string,
  root: string,
  file: string,
): Promise<Command> {
  // Some packages have one binary under several names.
  const binary = await realpath(join(root, file))
  const loader = await findLoader(root)
  const libraries = ['usr/lib', 'lib']
    .flatMap((folder) => [`${folder}/x86_64-linux-gnu`, `${folder}/aarch64-linux-gnu`])
    .map((folder) => join(root, folder))
    .join(':')
  const patchelf = await findPatchelf(apt, home)
  if (patchelf === undefined) {
    return { command: loader, args: ['--library-path', libraries, binary] }
  }
  const patched = join(home, basename(file))
  const options = ['--set-interpreter', loader, '--force-rpath', '--set-rpath', libraries]
  await run(patchelf, [...options, '--output', `${patched}.new`, binary])
  await run('chmod', ['755', `${patched}.new`])
  await rename(`${patched}.new`, patched)
  return { command: patched, args: [] }
}

async function findLoader(root: string): Promise<string> {
  const candidates = [
    'usr/lib64/ld-linux-x86-64.so.2',
    'lib64/ld-linux-x86-64.so.2',
    'lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
    'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
    'usr/lib/ld-linux-aarch64.so.1',
    'lib/ld-linux-aarch64.so.1',
    'lib/aarch64-linux-gnu/ld-linux-aarch64.so.1',
  ].map((path) => join(root, path))
  for (const path of candidates) {
    // A link into the machine's own /lib would load the wrong libc, so it has to run.
    if (await run(path, ['--version']).catch(() => undefined)) return path
  }
  throw new Error('the unpacked libc has no loader for this processor')
}

/** patchelf from PATH, else this machine's own package of it, unpacked into the cache. */
async function findPatchelf(apt: readonly string[], home: string): Promise<string | undefined> {
  if (await run('patchelf', ['--version']).catch(() => undefined)) return 'patchelf'
  const downloads = join(home, 'apt/patchelf')
  const root = join(home, 'apt/patchelf-root')
  const unpacked = join(root, 'usr/bin/patchelf')
  const own = ['-o', `Dir::Cache=${join(home, 'apt/cache')}`, '-o', 'APT::Sandbox::User=root']
  // First this machine's release, whose libc is here; then the suite's, which may be too new.
  for (const options of [own, apt]) {
    await rm(downloads, { recursive: true, force: true })
    await unpack(options, ['patchelf'], downloads, root).catch(() => undefined)
    if (await run(unpacked, ['--version']).catch(() => undefined)) return unpacked
  }
  return undefined
}

function run(command: string, args: readonly string[], cwd?: string): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let errors = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    child.stderr.on('data', (chunk) => {
      errors += chunk
    })
    child.on('error', (error) => fail(new Error(`${command} cannot be started: ${error.message}`)))
    child.on('close', (code) => {
      if (code === 0) return done(output)
      const line = errors.trim().split('\n').at(-1) ?? ''
      fail(new Error(`${command} ${args.at(-1)} ended with ${code}: ${line}`))
    })
  })
}

function progress({ name, version }: DebianProgram, text: string): void {
  process.stderr.write(`${version.startsWith(name) ? '' : `${name}, `}${version} ${text}\n`)
}
