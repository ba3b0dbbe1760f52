/**
 * The table of the README that compares this project with what could be used instead, from
 * bench/results: prints it, or writes it into the README with `--write`. A test compares the two.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const readme = resolve(root, 'README.md')

interface Result {
  readonly variant: string
  readonly cpuUs: number
  /** CPU time of the program that HAProxy asks. */
  readonly askedCpuUs?: number
  readonly pacedP99Us: number
}

/** One line of the table: which result it shows, and what its way of checking covers. */
interface Row {
  readonly name: string
  readonly file: 'haproxy' | 'peers'
  readonly variant: string
  readonly checks: string
}

const rows: readonly Row[] = [
  {
    name: 'HAProxy sets the same headers, no check',
    file: 'haproxy',
    variant: 'native headers',
    checks: 'nothing',
  },
  {
    name: '**this project**, verdict cached',
    file: 'haproxy',
    variant: 'action, hot cache',
    checks: 'everything below',
  },
  {
    name: "HAProxy's `jwt_verify`, headers set by hand",
    file: 'haproxy',
    variant: 'jwt_verify and native headers',
    checks: 'signature only, one key file',
  },
  {
    name: 'Apache with mod_auth_openidc',
    file: 'peers',
    variant: 'Apache with mod_auth_openidc',
    checks: 'signature, issuer, lifetime',
  },
  {
    name: 'oauth2-proxy behind haproxy-auth-request',
    file: 'peers',
    variant: 'haproxy-auth-request and oauth2-proxy',
    checks: 'signature, issuer, audience',
  },
]

/** The newest HAProxy of a result file, with its results. */
function readNewest(file: Row['file']): { version: string; date: string; results: Result[] } {
  const { date, versions } = JSON.parse(
    readFileSync(resolve(root, `bench/results/${file}.json`), 'utf8'),
  )
  const newest = versions.at(-1)
  return { date, version: /version (\d+\.\d+)/.exec(newest.haproxy)?.[1] ?? '', ...newest }
}

/** The table in Markdown, with a line that says where it is from. */
export function comparisonTable(): string {
  const lines = rows.map(({ name, file, variant, checks }) => {
    const result = readNewest(file).results.find((one) => one.variant === variant)
    if (!result) throw new Error(`bench/results/${file}.json has no ${variant}`)
    const cpu = Math.round(result.cpuUs + (result.askedCpuUs ?? 0))
    const wait = (result.pacedP99Us / 1000).toFixed(1)
    return `| ${name} | ${cpu} µs | ${wait} ms | ${checks} |`
  })
  const { date, version } = readNewest('haproxy')
  return [
    '| | CPU time per request | p99 at 1,000 requests/s | what is checked |',
    '|---|---|---|---|',
    ...lines,
    '',
    `Measured on ${date} with HAProxy ${version} on two cores ([benchmarks](bench/README.md)). The others check`,
    'each request. This project checks a token once, and answers from its cache for up to five minutes.',
  ].join('\n')
}

const block = /(<!-- comparison -->\n)[\s\S]*?(<!-- \/comparison -->)/

/** The README with the table of today in it. */
export function fillReadme(text: string): string {
  if (!block.test(text)) throw new Error('README.md has no place for the table')
  return text.replace(block, (_, start, end) => `${start}${comparisonTable()}\n${end}`)
}

if (import.meta.main) {
  if (process.argv.includes('--write')) {
    writeFileSync(readme, fillReadme(readFileSync(readme, 'utf8')))
  } else process.stdout.write(`${comparisonTable()}\n`)
}
