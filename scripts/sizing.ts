/**
 * The tables of docs/sizing.md, from what the benchmarks measured: prints them, or writes them into
 * the page with `--write`. A test compares the page with this.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
export const sizingPage: string = resolve(root, 'docs/sizing.md')

/** What one request costs, in microseconds of one core, and what was assumed. */
export interface Figures {
  /** HAProxy, verdict from the action's cache. */
  readonly remembered: number
  /** HAProxy, verifier asked. */
  readonly asked: number
  /** Verifier, token seen before. */
  readonly known: number
  /** Verifier, first sight of a token: its signature is checked. */
  readonly firstSight: number
}

export interface Load {
  readonly perSecond: number
  /** Tokens in use at a time. */
  readonly tokens: number
  /** Threads of all HAProxies together. */
  readonly threads: number
  readonly cacheSeconds: number
}

export interface Need {
  /** Requests that find no remembered verdict, per second. */
  readonly askedPerSecond: number
  readonly haproxyCores: number
  readonly verifierCores: number
  /** Verdicts that one thread remembers. */
  readonly entriesPerThread: number
}

/** Bytes of one remembered verdict, with a token of 1.4 KB and eleven headers (haproxy-lua/README.md). */
const entryBytes = 3_700
/** Entra ID's access tokens last 60 to 90 minutes. */
const tokenSeconds = 75 * 60
/** A core that is busier than this answers late. */
const use = 0.6

const loads: readonly Load[] = [
  { perSecond: 1_000, tokens: 2_000, threads: 2, cacheSeconds: 300 },
  { perSecond: 100_000, tokens: 200_000, threads: 16, cacheSeconds: 300 },
  { perSecond: 1_000_000, tokens: 2_000_000, threads: 192, cacheSeconds: 300 },
]

/**
 * What a load needs. `spread` is the number of threads over which the requests of one token are
 * spread: 1 where clients keep their connection, all where each request has a new one.
 */
export function sizeFor(load: Load, figures: Figures, spread: number): Need {
  const perTokenAndThread = load.perSecond / load.tokens / spread
  // After a miss the verdict is there for cacheSeconds, in which so many requests find it.
  const found = perTokenAndThread * load.cacheSeconds
  const missRatio = 1 / (1 + found)
  const askedPerSecond = load.perSecond * missRatio
  const remembered = load.perSecond - askedPerSecond
  const newTokens = load.tokens / tokenSeconds
  return {
    askedPerSecond,
    haproxyCores: (remembered * figures.remembered + askedPerSecond * figures.asked) / 1e6,
    verifierCores: (askedPerSecond * figures.known + newTokens * figures.firstSight) / 1e6,
    entriesPerThread: ((load.tokens * spread) / load.threads) * (1 - missRatio),
  }
}

/** The figures out of bench/results. */
export function readFigures(): Figures {
  const haproxy = readResults('haproxy.json').versions.at(-1).results as Result[]
  const service = readResults('service.json').results as Result[]
  const costOf = (results: Result[], name: string) => {
    const found = results.find((result) => (result.variant ?? result.name) === name)
    if (!found) throw new Error(`no result of "${name}"`)
    return found.cpuUs
  }
  return {
    remembered: costOf(haproxy, 'action, hot cache'),
    asked: costOf(haproxy, 'action, miss each time'),
    known: costOf(service, 'hit'),
    firstSight: costOf(service, 'miss'),
  }
}

interface Result {
  readonly variant?: string
  readonly name?: string
  readonly cpuUs: number
}

function readResults(name: string) {
  return JSON.parse(readFileSync(resolve(root, 'bench/results', name), 'utf8'))
}

/** Marker → the table behind it. */
export function sizingTables(figures: Figures): Map<string, string> {
  const round = (value: number) => value.toFixed(value < 1 ? 2 : value < 10 ? 1 : 0)
  const count = (value: number) => Math.round(value).toLocaleString('en')
  const table = (head: string[], rows: string[][]) =>
    [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
  const needs = loads.flatMap((load) =>
    (
      [
        ['kept', 1],
        ['new each time', load.threads],
      ] as const
    ).map(([connections, spread]) => ({
      load,
      connections,
      need: sizeFor(load, figures, spread),
    })),
  )
  return new Map([
    [
      'figures',
      table(
        ['figure', 'µs of one core', 'measured as'],
        [
          ['`remembered`', round(figures.remembered), 'HAProxy, "action, hot cache"'],
          ['`asked`', round(figures.asked), 'HAProxy, "action, miss each time"'],
          ['`known`', round(figures.known), 'service, "hit"'],
          ['`first sight`', round(figures.firstSight), 'service, "miss"'],
        ],
      ),
    ],
    [
      'needs',
      table(
        [
          'requests/s',
          'tokens in use',
          'threads',
          'connections',
          'asked/s',
          'HAProxy cores',
          'verifier cores',
          'verifiers',
          'verdicts a thread',
          'MB a thread',
        ],
        needs.map(({ load, connections, need }) => [
          count(load.perSecond),
          count(load.tokens),
          count(load.threads),
          connections,
          count(need.askedPerSecond),
          round(need.haproxyCores),
          round(need.verifierCores),
          count(Math.max(2, Math.ceil(need.verifierCores / use) + 1)),
          count(need.entriesPerThread),
          round((need.entriesPerThread * entryBytes) / 1e6),
        ]),
      ),
    ],
  ])
}

/** The page with these tables in it. */
export function fillPage(page: string, tables: ReadonlyMap<string, string>): string {
  let filled = page
  for (const [marker, text] of tables) {
    const place = new RegExp(`(<!-- ${marker}: [^>]*-->\\n\\n)[^]*?(\\n\\n<!-- end -->)`)
    if (!place.test(filled)) throw new Error(`no place for "${marker}"`)
    filled = filled.replace(place, (_, start, end) => `${start}${text}${end}`)
  }
  return filled
}

if (import.meta.main) {
  const tables = sizingTables(readFigures())
  if (process.argv.includes('--write')) {
    writeFileSync(sizingPage, fillPage(readFileSync(sizingPage, 'utf8'), tables))
  } else console.log([...tables.values()].join('\n\n'))
}
