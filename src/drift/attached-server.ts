import { conditionHolds, readCondition } from './condition.ts'
import { type Finding, finding } from './finding.ts'
import { placeOf, type Topology } from './proxy.ts'

/**
 * Finds `tcp-request session attach-srv`: HAProxy takes a connection of a client for one to a server. Who
 * connects then gets requests with tokens and identity headers, or answers as the verifier.
 */
export function checkAttachedServers({ proxies }: Topology): Finding[] {
  return proxies.flatMap(({ section, binds, place }) => {
    // Only clients with a certificate of the operator's authority get this far.
    const isClosed =
      binds.length > 0 &&
      binds.every(({ line: { words } }) => {
        const at = words.lastIndexOf('verify')
        return words.includes('ssl') && at >= 0 && words[at + 1] === 'required'
      })
    if (isClosed) return []
    return [section, section.defaults].flatMap((from) =>
      (from?.lines ?? [])
        .filter(({ words }) => words.slice(0, 3).join(' ') === 'tcp-request session attach-srv')
        .filter(({ words }) => {
          const condition = from && readCondition(words, from)
          return conditionHolds(condition, { facts: [], request: {} }) !== false
        })
        .map((line) =>
          finding(
            'server-attached',
            from === section ? placeOf(line, section) : place,
            `makes clients that connect here servers of ${line.words[3] ?? ''}: they get its requests`,
            'Write ssl, ca-file and verify required at each bind of this section, or remove the line.',
          ),
        ),
    )
  })
}
