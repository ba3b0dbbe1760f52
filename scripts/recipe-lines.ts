/**
 * The HAProxy lines inside the values of the two ingress controllers, from what `haproxy-config`
 * prints: `node scripts/recipe-lines.ts --write` renews them. A test compares the files with this.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parse } from 'yaml'
import { loadConfig } from '../src/config/load.ts'
import { printHaproxyConfig } from '../src/haproxy/print.ts'

const recipes = resolve(import.meta.dirname, '../recipes')

/** A file with lines, and the key of each part in it. */
interface Target {
  readonly file: string
  readonly global: string
  readonly verifier: string
  readonly frontend: string
  /** Directives of its own in `global`, above the one that loads the action. */
  readonly more: readonly string[]
  /** Named `defaults` that the section of the verifier takes its timeouts from. */
  readonly defaults?: string
}

/** Values of charts whose controllers write the rest of HAProxy's configuration. */
export const targets: readonly Target[] = [
  {
    file: 'kubernetes-ingress/values.yaml',
    global: 'global-config-snippet',
    verifier: 'auxiliaryConfig',
    frontend: 'frontend-config-snippet',
    more: [],
    defaults: 'haproxytech',
  },
  {
    file: 'haproxy-ingress/values.yaml',
    global: 'config-global',
    verifier: 'config-sections',
    frontend: 'config-frontend-late',
    more: ['setenv ENTRA_AUTH_LUA_FILE /etc/haproxy-custom-files/entra-auth.lua'],
  },
]

/** Rate limits of the controllers take the counters 0 and 1, and HAProxy ignores who comes second. */
const ownCounter = (line: string) =>
  line.replace(/\b(track-|BAD_TOKENS )?sc0\b/, '$1sc2').replace('gpc0(0)', 'gpc0(2)')

/** What a controller writes itself, or what its other lines do not allow. */
const controllersOwn =
  /^(log|log-format|hard-stop-after|monitor-uri|zero-warning|noreuseport|maxconn|bind|mode|server|\w+_backend)\b/

/** The text of the file with the lines of today in it. */
export async function renewLines(target: Target): Promise<string> {
  const printed = sectionsOf(await print())
  const section = (name: string) => printed.get(name) ?? []
  const global = withoutOwn(section('global'))
  const load = global.findIndex((line) => line.startsWith('lua-load'))
  const from = target.defaults === undefined ? '' : ` from ${target.defaults}`
  const verifier = [`listen entra-verifier${from}`, ...indent(section('listen entra-verifier'))]
  let text = readFileSync(resolve(recipes, target.file), 'utf8')
  text = replaceBlock(
    text,
    target.global,
    global.toSpliced(load, 0, ...target.more).map(ownCounter),
  )
  text = replaceBlock(text, target.verifier, verifier)
  return replaceBlock(text, target.frontend, [
    ...withoutOwn(section('frontend www')).map(ownCounter),
    ...withoutFastLane(withoutOwn(section('backend orders'))).map(ownCounter),
  ])
}

/** The action alone: whether a controller keeps `.if` between the rules of a frontend is its own affair. */
function withoutFastLane(lines: readonly string[]): string[] {
  const [start, lane, end] = ['.if ', '.else', '.endif'].map((word) =>
    lines.findIndex((line) => line.startsWith(word)),
  ) as [number, number, number]
  // The comment above it, too.
  return [...lines.slice(0, start - 1), ...lines.slice(start + 1, lane), ...lines.slice(end + 1)]
}

/** What is printed for the verifier in HAProxy's pod. */
async function print(): Promise<string> {
  const manifest = parse(readFileSync(resolve(recipes, 'kubernetes/verifier-config.yaml'), 'utf8'))
  const text: string = manifest.data['config.yaml']
  const loaded = await loadConfig({ file: 'config.yaml', env: {}, readFile: () => text })
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
  const { config } = loaded
  return printHaproxyConfig({
    config,
    verifier: `${config.listen.host}:${config.listen.port}`,
    metadataPaths: [],
  })
}

/** Section → its lines with comments, without the indentation of the section. */
function sectionsOf(printed: string): Map<string, string[]> {
  const sections = new Map<string, string[]>()
  let lines: string[] = []
  for (const line of printed.split('\n')) {
    if (/^\w/.test(line)) {
      lines = []
      sections.set(line, lines)
    } else if (/^ /.test(line)) lines.push(line.slice(4))
  }
  return sections
}

/** Lines less the controller's own, and less the comments of those and of what is commented out. */
function withoutOwn(lines: readonly string[]): string[] {
  const kept: string[] = []
  let comments: string[] = []
  for (const line of lines) {
    if (line.startsWith('#')) {
      comments.push(line)
      continue
    }
    if (!controllersOwn.test(line)) kept.push(...comments, line)
    comments = []
  }
  return kept
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `    ${line}`)
}

/** Replaces the block of text behind a key. */
function replaceBlock(yaml: string, key: string, lines: readonly string[]): string {
  const block = new RegExp(`^( *)${key}: \\|\\n(?:\\1 +.*\\n)+`, 'm')
  const margin = block.exec(yaml)?.[1]
  if (margin === undefined) throw new Error(`no block ${key}`)
  const text = lines.map((line) => `${margin}  ${line}\n`).join('')
  return yaml.replace(block, () => `${margin}${key}: |\n${text}`)
}

if (import.meta.main) {
  for (const target of targets) {
    const text = await renewLines(target)
    if (process.argv.includes('--write')) writeFileSync(resolve(recipes, target.file), text)
    else console.log(text)
  }
}
