/**
 * Copies files of the project into the chart, because Helm reads only the chart's own folder. `npm
 * run chart` writes them, and a test compares them.
 *
 * - `files/`: the Lua action, the HAProxy lines and the admission policies, byte for byte
 * - `values.schema.json`: the schema of the configuration under `config`
 * - `README.md`: the table of values, from the comments in `values.yaml`
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { isMap, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml'
import { configFileSchema } from '../src/config/schema.ts'
import { deriveMonitoringFiles } from './monitoring.ts'

const ROOT = resolve(import.meta.dirname, '..')

/** Folder of the chart. */
export const chartFolder = join(ROOT, 'charts', 'haproxy-entra-auth')

/** Files of the chart that are made from others, by path, with the text that they should have. */
export function deriveChartFiles(): ReadonlyMap<string, string> {
  return new Map([
    ...['entra-auth.lua', 'haproxy.cfg'].map(
      (name) => [inChart('files', name), read(join(ROOT, 'haproxy-lua', name))] as const,
    ),
    ...['kubernetes/admission-policy.yaml', 'haproxy-ingress/admission-auth-url.yaml'].map(
      (path) => [inChart('files', basename(path)), read(join(ROOT, 'recipes', path))] as const,
    ),
    [inChart('values.schema.json'), withConfigSchema(read(inChart('values.schema.json')))],
    [inChart('README.md'), withValuesTable(read(inChart('README.md')))],
  ])
}

/** A value of `values.yaml`: its path, its default, and the comment above it. */
export interface ValueRow {
  readonly path: string
  readonly fallback: unknown
  /** Empty where there is none. */
  readonly comment: string
}

/** Mappings that are one value, with one comment: their keys are not the chart's. */
const wholeValues = /^((pod)?[sS]ecurityContext|resources|monitoring\.dashboard\.labels)$/

/** The values of `values.yaml` in their order; a mapping has a row only where it is a value itself. */
export function listValues(text: string): readonly ValueRow[] {
  const document = parseDocument(text)
  // The comment above the first key belongs to the document.
  return rowsOf(document.contents as YAMLMap, '', document.contents?.commentBefore ?? '')
}

function rowsOf(map: YAMLMap, prefix: string, firstComment: string): ValueRow[] {
  return (map.items as Pair[]).flatMap((pair, index) => {
    const key = pair.key as { value: string; commentBefore?: string | null }
    const path = `${prefix}${key.value}`
    const own = key.commentBefore ?? (index === 0 ? firstComment : '')
    const comment = (own.split(/\n\s*\n/).at(-1) ?? '').trim().replaceAll(/\n */g, ' ')
    if (isMap(pair.value) && pair.value.items.length > 0 && !wholeValues.test(path)) {
      const inner = pair.value.commentBefore ?? ''
      return [{ path, fallback: undefined, comment }, ...rowsOf(pair.value, `${path}.`, inner)]
    }
    const fallback = isScalar(pair.value)
      ? pair.value.value
      : (pair.value as YAMLMap).toJS(parseDocument(''))
    return [{ path, fallback, comment }]
  })
}

/** The schema of the values, with the part for `config` as the service has it now. */
function withConfigSchema(text: string): string {
  const schema = JSON.parse(text)
  const { $schema, title, required, ...config } = JSON.parse(JSON.stringify(configFileSchema))
  // Not required: tenantId and audience stand for tenants and policies.
  schema.properties.config = config
  return `${JSON.stringify(schema, undefined, 2)}\n`
}

const tableStart = '<!-- values: made by `npm run chart` from values.yaml -->\n'
const tableEnd = '<!-- end of values -->'

function withValuesTable(text: string): string {
  const [before, rest = ''] = text.split(tableStart)
  const after = rest.slice(rest.indexOf(tableEnd))
  const rows = listValues(read(inChart('values.yaml'))).map(({ path, fallback, comment }) => {
    const shown = fallback === undefined ? '' : `\`${JSON.stringify(fallback)}\``
    return `| \`${path}\` | ${shown} | ${comment.replaceAll('|', '\\|')} |`
  })
  return `${before}${tableStart}\n| value | default | meaning |\n|---|---|---|\n${rows.join('\n')}\n\n${after}`
}

function inChart(...path: string[]): string {
  return join(chartFolder, ...path)
}

function read(path: string): string {
  return readFileSync(path, 'utf8')
}

if (process.argv[1] === import.meta.filename) {
  for (const [path, text] of [...deriveChartFiles(), ...deriveMonitoringFiles()]) {
    writeFileSync(path, text)
  }
}
