import type { IdentityHeaderSet } from '../config/config.ts'
import { managedHeaders } from '../haproxy/strip.ts'
import { conditionHolds, readCondition } from './condition.ts'
import { isRedirect, isRefusal } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import type { Line, Section } from './haproxy-file.ts'
import { headerRemover, type ProxySection, placeOf, type Rule } from './proxy.ts'

/**
 * Finds rules between the action and the verifier that change the question or the answer: another policy,
 * another token, a verdict from a cache, an identity header. The action believes what comes back.
 */
export function checkVerifierRules(
  sections: readonly ProxySection[],
  set: IdentityHeaderSet,
): Finding[] {
  const names = managedHeaders(set).map((name) => name.toLowerCase())
  return sections.flatMap((proxy) => {
    const lines = [
      ...proxy.rules.filter(changesQuestion).map(({ line }) => line),
      ...[proxy.section.defaults, proxy.section].flatMap((from) =>
        from === undefined ? [] : from.lines.filter((line) => changesAnswer(line, from, names)),
      ),
    ]
    return lines.map((line) =>
      finding(
        'verifier-changed',
        proxy.section.lines.includes(line) ? placeOf(line, proxy.section) : proxy.place,
        `has ${line.words.slice(0, 2).join(' ')}, which changes what the verifier is asked or answers, and the action believes it`,
        'Remove it; haproxy-entra-auth haproxy-config prints all rules that this section needs.',
      ),
    )
  })
}

function mayFire(condition: Rule['condition']): boolean {
  return conditionHolds(condition, { facts: [], request: {} }) !== false
}

/** By these headers the verifier decides. */
const asked = /^(authorization|cookie|x-forwarded-host|x-entra-auth(-.*)?)$/

function changesQuestion(rule: Rule): boolean {
  const { action, words, condition } = rule
  if (!mayFire(condition) || isRefusal(rule) || isRedirect(rule)) return false
  if (/^(return|use-service|cache-use|send-spoe-group|lua\..*|.*-headers-bin)$/.test(action))
    return true
  if (/^(set|replace)-(path|pathq|uri)$/.test(action)) return !hasFixedBeginning(rule)
  return (
    /^(set|add|replace)-(header|value)$/.test(action) && asked.test((words[0] ?? '').toLowerCase())
  )
}

/** The whole path behind a fixed one, as a proxy on the way to the verifier may want it. */
function hasFixedBeginning({ action, words: [value = ''] }: Rule): boolean {
  return action.startsWith('set-') && /^(\/[\w-]+)*%\[(path|pathq)\]$/.test(value)
}

function changesAnswer(line: Line, section: Section, names: readonly string[]): boolean {
  const [keyword = '', action = '', ...words] = line.words
  if (keyword === 'filter') return /^(spoe|lua\..*)$/.test(action)
  if (!/^http-(after-)?response$/.test(keyword)) return false
  const condition = readCondition(line.words, section)
  if (!mayFire(condition)) return false
  if (/^(return|set-status|cache-store|lua\..*|send-spoe-group|.*-headers-bin)$/.test(action))
    return true
  const isSaid = (name: string) => name.startsWith('x-entra-auth') || names.includes(name)
  const removes = headerRemover({ line, keyword, action, words, condition })
  // Without the verdict, nobody gets in.
  if (removes) {
    return !removes('x-entra-auth-verdict') && [...names, ...marks].some((name) => removes(name))
  }
  if (!/^(set|add|replace)-(header|value)$/.test(action)) return false
  const name = (words[0] ?? '').toLowerCase()
  return isSaid(name) || (name === 'cache-control' && !/\bno-(store|cache)\b/.test(words.join(' ')))
}

/** What makes less of an allow. */
const marks = [
  'x-entra-auth-report',
  'x-entra-auth-recheck',
  'x-entra-auth-reason',
  'cache-control',
]
