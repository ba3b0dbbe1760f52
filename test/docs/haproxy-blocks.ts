/**
 * The HAProxy blocks of the pages, each as a whole configuration. What stands behind ```haproxy says
 * where the lines belong:
 *
 * - nothing: whole sections. With a `global` section the block is complete. Otherwise each section
 *   replaces the printed one of its name, or is added; a line `...` stands for the printed lines.
 * - `frontend`: rules of the printed frontend, before its routes
 * - `frontend-action`: the same, in place of the action in the backends, with routes as an ingress
 *   controller writes them
 * - `backend`: rules of the printed backend, behind its guard
 * - `backend-action`: in place of the action and its guard
 * - `server`: in place of the application's line
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Config } from '../../src/config/config.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { configOf } from '../config/fixture.ts'

const root = resolve(import.meta.dirname, '../..')

/** One HAProxy block of a page. */
export interface HaproxyBlock {
  /** Page and line, as `docs/drift.md:62`. */
  readonly where: string
  /** Where the lines belong; empty for whole sections. */
  readonly place: string
  readonly lines: readonly string[]
}

/** A block as HAProxy would get it, with the policies that it names. */
export interface WholeConfig {
  readonly text: string
  readonly config: Config
}

/** Every page with HAProxy lines that people copy. */
export function pagesWithBlocks(): string[] {
  const inDocs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name))
  return ['README.md', 'haproxy-lua/README.md', 'charts/haproxy-entra-auth/README.md', ...inDocs]
}

/** The HAProxy blocks of a page. */
export function haproxyBlocks(
  page: string,
  text = readFileSync(join(root, page), 'utf8'),
): HaproxyBlock[] {
  return [...text.matchAll(/^( *)```haproxy *(.*)\n([\s\S]*?)^ *```$/gm)].map((found) => {
    const [, margin = '', place = '', body = ''] = found
    const line = text.slice(0, found.index).split('\n').length
    const lines = body.trimEnd().split('\n')
    return { where: `${page}:${line}`, place, lines: lines.map((one) => one.slice(margin.length)) }
  })
}

/** The block with the rest of a configuration around it. Throws for a place that is not known. */
export async function wholeConfig({ where, place, lines }: HaproxyBlock): Promise<WholeConfig> {
  const named = lines.flatMap((line) => /lua\.entra-auth (\S+)/.exec(line)?.[1] ?? [])
  const policies = named.length > 0 ? [...new Set(named)] : ['orders']
  const config = await configOf(
    `tenants: { contoso: 11111111-1111-4111-8111-111111111111 }\npolicies:\n${policies
      .map(
        (name) =>
          `  ${name}: { audiences: [api://orders], allow: [{ actor: user, scopes: any }] }\n`,
      )
      .join('')}`,
  )
  const printed = printHaproxyConfig({ config, verifier: '127.0.0.1:8080', metadataPaths: [] })
  if (lines.some((line) => line.startsWith('global')))
    return { text: `${lines.join('\n')}\n`, config }
  const rules = `${lines.map((line) => `    ${line.trim()}`).join('\n')}\n`
  const text = wrap(printed, place, rules, lines)
  if (text === undefined) throw new Error(`${where}: unknown place ${place}`)
  return { text, config }
}

const action = /^ {4}# From HAProxy 3\.4 on[\s\S]*?^ {4}http-request deny deny_status 503 .*\n/gm
const guard = /^ {4}http-request deny deny_status 503 unless \{ var\(txn\.entra\.ok\).*\n/m
const routes = /^ {4}(?:# CHANGE: the host|default_backend|use_backend).*\n/m

function wrap(
  printed: string,
  place: string,
  rules: string,
  lines: readonly string[],
): string | undefined {
  switch (place) {
    case '':
      return withSections(printed, lines)
    case 'frontend':
      return printed.replace(routes, (route) => rules + route)
    case 'frontend-action':
      return printed
        .replace(action, '')
        .replaceAll('host_only -m str -i', 'field(1,:),lower -m str')
        .replace(routes, (route) => rules + route)
    case 'backend':
      return printed.replace(guard, (line) => line + rules)
    case 'backend-action':
      return printed.replace(action, () => rules)
    case 'server':
      return printed.replace(/^ {4}server app .*\n/m, () => rules)
    default:
      return undefined
  }
}

function withSections(printed: string, lines: readonly string[]): string {
  let text = printed
  for (const section of lines.join('\n').split(/\n(?=\S)/)) {
    const [head = ''] = section.split('\n')
    const name = head.replace(/\s*#.*$/, '')
    if (/^(#|$)/.test(name)) continue
    const old = new RegExp(
      `^${name.replaceAll(/[.*+?^$(){}|[\]\\]/g, '\\$&')}\\n((?:[ \\t].*\\n)*)`,
      'm',
    )
    const own = (old.exec(text)?.[1] ?? '').replaceAll(/^ {4}server .*\n/gm, '')
    const whole = `${section.trimEnd()}\n`.replace(/^ *\.\.\.\n/m, () => own)
    text = old.test(text) ? text.replace(old, () => whole) : `${text}\n${whole}`
  }
  return text
}
