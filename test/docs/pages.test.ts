/** The pages: none is lost, no link is dead, and no command or script is named that is not there. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { Command } from 'commander'
import { fillPage, readFigures, sizeFor, sizingPage, sizingTables } from '../../scripts/sizing.ts'
import { failures } from '../../src/failure.ts'

const root = resolve(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const pages = [
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
  'README.md',
  'SECURITY.md',
  'CONTRIBUTING.md',
  'haproxy-lua/README.md',
  'bench/README.md',
  'charts/haproxy-entra-auth/README.md',
]

/** A page without its code blocks. */
function prose(page: string): string {
  return read(page).replace(/^```.*?^```$/gms, '')
}

/** The commands in the code blocks of a page, a line each; continued lines are one. */
function commandLines(page: string): string[] {
  const blocks = [...read(page).matchAll(/^ *```(?:sh|console)\n(.*?)^ *```$/gms)]
  return blocks.flatMap(([, text = '']) => text.replaceAll(/\\\n\s*/g, ' ').split('\n'))
}

function linksOf(page: string): string[] {
  return [
    ...prose(page)
      .replaceAll(/`[^`]*`/g, '')
      .matchAll(/\]\(([^)\s]+)\)/g),
  ].map(([, link = '']) => link)
}

/** The anchors of a page, as they are made from its headings. */
function anchorsOf(page: string): string[] {
  return [...prose(page).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

/** The words behind the program's name where a line runs it; undefined where it does not. */
function callIn(line: string): string[] | undefined {
  const call = /(?:^|[$|(] ?|&& |sudo )\s*haproxy-entra-auth ((?:[a-z]|--)[^|>)"<]*)/.exec(line)
  return call?.[1]?.trim().split(/\s+/)
}

/** The commands that program.ts puts together. */
async function readProgram(): Promise<Command> {
  const program = new Command('haproxy-entra-auth').version('0')
  const imports = read('src/commands/program.ts').matchAll(/^import \{ (add\w+) \} from '(.+)'$/gm)
  for (const [, name = '', path = ''] of imports) {
    const module = await import(join(root, 'src/commands', path))
    module[name](program, { env: {} })
  }
  return program
}

/** What the program says of a command; empty where it has none of that name. */
function helpOf(program: Command, path: string): string {
  let command: Command | undefined = program
  for (const name of path.split(' ').filter(Boolean)) {
    command = command?.commands.find((one) => one.name() === name)
  }
  return command?.helpInformation() ?? ''
}

/** A variable of the service, of the action, of dev-entra or of OpenTelemetry. */
const variable = /\b(?:ENTRA_AUTH|DEV_ENTRA|OTEL)_[A-Z0-9_]*[A-Z0-9]\b/g

describe('the pages', () => {
  it('are all linked from the index, with a line that says what each is for', () => {
    const lines = read('docs/README.md').split('\n')
    const lost = pages
      .filter((page) => page.startsWith('docs/') && page !== 'docs/README.md')
      .filter((page) => {
        const link = `](${relative('docs', page)}): `
        return !lines.some((line) => line.startsWith('- [') && line.includes(link))
      })
    assert.deepEqual(lost, [])
  })

  it('are reached from README.md', () => {
    assert.ok(linksOf('README.md').includes('docs/README.md'))
    assert.ok(linksOf('README.md').includes('docs/quick-start.md'))
  })

  it('link to files and headings that are there', () => {
    const dead = pages.flatMap((page) =>
      linksOf(page)
        .filter((link) => !/^(https?|mailto):/.test(link))
        .filter((link) => {
          const [path = '', anchor] = link.split('#')
          const target = path === '' ? page : relative(root, resolve(root, dirname(page), path))
          if (!existsSync(join(root, target))) return true
          return anchor !== undefined && !anchorsOf(target).includes(anchor)
        })
        .map((link) => `${page}: ${link}`),
    )
    assert.deepEqual(dead, [])
  })

  it('name only commands and options that haproxy-entra-auth has', async () => {
    const program = await readProgram()
    const helps = new Map<string, string>()
    const wrong: string[] = []
    for (const page of pages) {
      for (const line of commandLines(page)) {
        const words = callIn(line)
        if (!words) continue
        const [command = '', second = ''] = words
        const isPair = ['dev-entra', 'revocations'].includes(command) && /^[a-z]/.test(second)
        const path = isPair ? `${command} ${second}` : command.replace(/^-.*/, '')
        const help = helps.get(path) ?? helpOf(program, path)
        helps.set(path, help)
        const options = words.filter((word) => word.startsWith('--'))
        const unknown = options.filter((option) => !help.includes(option))
        if (help === '' || unknown.length > 0) wrong.push(`${page}: ${line} ${unknown}`)
      }
    }
    assert.deepEqual(wrong, [])
    assert.ok(helps.size > 8)
  })

  it('are not needed to know what an option or an argument means: the help says it', async () => {
    const silent: string[] = []
    const walk = (command: Command, path: string) => {
      for (const { flags, description, hidden } of command.options) {
        if (!hidden && !/\w/.test(description)) silent.push(`${path} ${flags}`)
      }
      for (const one of command.registeredArguments) {
        if (!/\w/.test(one.description)) silent.push(`${path} ${one.name()}`)
      }
      for (const one of command.commands) walk(one, `${path} ${one.name()}`.trim())
    }
    const program = await readProgram()
    walk(program, '')
    assert.deepEqual(silent, [])
    assert.ok(program.commands.length > 10)
  })

  it('name only scripts that package.json has', () => {
    const { scripts } = JSON.parse(read('package.json'))
    const wrong = pages.flatMap((page) =>
      [...read(page).matchAll(/npm run ([\w:]+)/g)]
        .map(([, name = '']) => name)
        .filter((name) => !Object.hasOwn(scripts, name))
        .map((name) => `${page}: ${name}`),
    )
    assert.deepEqual(wrong, [])
  })

  it('name files of the recipes that are there', () => {
    const wrong = pages.flatMap((page) =>
      commandLines(page)
        .flatMap((line) => [...line.matchAll(/(?:^|[ =])((?:recipes|haproxy-lua)\/[\w./-]+)/g)])
        .map(([, path = '']) => path)
        .filter((path) => !existsSync(join(root, path)))
        .map((path) => `${page}: ${path}`),
    )
    assert.deepEqual(wrong, [])
  })

  it('name only environment variables that the service, the action or the configuration reads', () => {
    const folders = ['src', 'haproxy-lua', 'recipes', 'scripts', 'charts']
    const sources = folders.flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((file) => /\.(ts|lua|cfg|conf|yaml|service|mjs)$/.test(file))
        .map((file) => read(join(folder, file))),
    )
    const known = new Set<string>(sources.join('\n').match(variable))
    assert.ok(known.size > 20)
    // The page on tracing names them to say that they are not supported.
    for (const name of ['OTEL_EXPORTER_OTLP_CERTIFICATE', 'OTEL_TRACES_SAMPLER']) known.add(name)
    const wrong = pages.flatMap((page) =>
      (read(page).match(variable) ?? [])
        .filter((name) => !known.has(name))
        .map((name) => `${page}: ${name}`),
    )
    assert.deepEqual(wrong, [])
  })

  it('name only files of the repository that exist', () => {
    const wrong = pages.flatMap((page) =>
      [
        ...read(page).matchAll(
          /`((?:src|test|scripts|haproxy-lua|recipes|charts|docs|bench)\/[\w./-]+)`/g,
        ),
      ]
        .map(([, path = '']) => path.replace(/\/$/, ''))
        .filter((path) => !existsSync(join(root, path)))
        .map((path) => `${page}: ${path}`),
    )
    assert.deepEqual(wrong, [])
  })

  it('name reasons that there are', () => {
    const lua = read('haproxy-lua/entra-auth.lua')
    for (const page of ['docs/quick-start.md', 'docs/audits.md', 'docs/upgrade.md']) {
      const named = [...prose(page).matchAll(/`([a-z]+(?:_[a-z]+)+)`/g)].map(
        ([, name = '']) => name,
      )
      const unknown = named.filter((name) => !Object.hasOwn(failures, name) && !lua.includes(name))
      assert.deepEqual(
        unknown.filter((name) => !/^(token_id|total_ms|verify_ms)$/.test(name)),
        [],
        page,
      )
    }
  })
})

describe('the page about sizing', () => {
  it('has the tables that the benchmarks give (else: node scripts/sizing.ts --write)', () => {
    const page = readFileSync(sizingPage, 'utf8')
    assert.equal(page, fillPage(page, sizingTables(readFigures())))
  })

  it('counts with a formula that holds at its ends', () => {
    const figures = { remembered: 10, asked: 100, known: 20, firstSight: 200 }
    const load = { perSecond: 1_000, tokens: 1_000, threads: 4, cacheSeconds: 0 }
    // Nothing remembered: every request is asked for.
    const all = sizeFor(load, figures, 1)
    assert.equal(all.askedPerSecond, 1_000)
    assert.equal(all.haproxyCores, 0.1)
    assert.equal(all.entriesPerThread, 0)
    // One token that is remembered for long: hardly any.
    const one = sizeFor({ ...load, tokens: 1, cacheSeconds: 1_000 }, figures, 1)
    assert.ok(one.askedPerSecond < 0.01)
    assert.ok(Math.abs(one.haproxyCores - 0.01) < 1e-5)
    // Spread over four threads, each asks for itself.
    const spread = sizeFor({ ...load, tokens: 1, cacheSeconds: 1_000 }, figures, 4)
    assert.ok(Math.abs(spread.askedPerSecond / one.askedPerSecond - 4) < 0.01)
  })
})
