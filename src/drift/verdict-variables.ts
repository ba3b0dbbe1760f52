import { withoutQuotes } from './expression.ts'
import { type Finding, finding } from './finding.ts'
import { placeOf, type Topology } from './proxy.ts'
import { clearsVerdict } from './walk.ts'

/** The name of an engine is the beginning of the names of all variables that its agent sets. */
const isAgent = (words: readonly string[]) =>
  words[0] === 'filter' && words[1] === 'spoe' && words[words.indexOf('engine') + 1] === 'entra'

const writes = /\b(?:set-var(?:-fmt)?|do-resolve)\(\s*p?txn\.(?:entra\.\w+|auth_response_\w+)/

/** Keywords whose rules come after the request has been decided on. */
const later =
  /^(http-response|http-after-response|tcp-response|log-format|log-format-sd|error-log-format)$/

/** Rules that write what the guard reads; only the action may. */
export function checkVerdictVariables({ config, proxies }: Topology): Finding[] {
  const cleared = new Set(
    proxies.flatMap(({ rules, tcpRules }) =>
      [...rules, ...tcpRules].filter(clearsVerdict).map(({ line }) => line),
    ),
  )
  return config.sections
    .filter(({ kind }) => /^(defaults|frontend|listen|backend)$/.test(kind))
    .flatMap((section) =>
      section.lines
        .filter((line) => !later.test(line.words[0] ?? '') && !cleared.has(line))
        .filter(
          ({ words }) => isAgent(words) || words.some((word) => writes.test(withoutQuotes(word))),
        )
        .map((line) =>
          finding(
            'verdict-written',
            placeOf(line, section),
            'writes a variable of the action, which the guard takes for its word',
            'Use another name; only the action may set txn.entra.*.',
          ),
        ),
    )
}
