import type { Line } from './haproxy-file.ts'

/** Where each variable stands in the value of a hit, from the last field on. */
const fields: Readonly<Record<string, number>> = {
  token_id: 1,
  actor: 2,
  client: 3,
  tenant: 4,
  user: 5,
  policy: 6,
  cache: 7,
  ms: 8,
  status: 9,
}

/** Rules behind the action may read these, so a hit has to set them. */
const required = ['token_id', 'actor', 'client', 'tenant', 'user', 'policy']

const isHit = '{ var(txn.entra.hit),length gt 0 }'

/**
 * The lines of a section in which the complete lines of the fast lane stand as the one action that
 * they spare: without a hit the action has the request, and a hit is its allow. Lines of which one is
 * missing, changed or elsewhere stay as they are, and writing the verdict is a finding then.
 */
export function foldFastLanes(lines: readonly Line[]): Line[] {
  const folded: Line[] = []
  for (let at = 0; at < lines.length; at++) {
    const length = fastLaneAt(lines, at)
    const action = length > 0 ? lines[at + length - 1] : undefined
    if (action) folded.push({ ...action, words: action.words.slice(0, 3) })
    else folded.push(lines[at] as Line)
    if (action) at += length - 1
  }
  return folded
}

/** How many lines from this one on are a complete fast lane; 0 where it is none. */
function fastLaneAt(lines: readonly Line[], start: number): number {
  const textAt = (index: number) => lines[index]?.words.join(' ') ?? ''
  const first =
    /^http-request set-var\(txn\.entra\.hit\) req\.hdrs,lua\.entra-auth-hit\(([\w.-]+)\)$/
  const policy = first.exec(textAt(start))?.[1]
  if (policy === undefined) return 0
  let at = start + 1
  if (textAt(at++) !== `http-request add-headers-bin var(txn.entra.hit) if ${isHit}`) return 0
  const missing = new Set(required)
  const variable =
    /^http-request set-var\(txn\.entra\.(\w+)\) var\(txn\.entra\.hit\),field\(-(\d+),\|\)$/
  for (let found = variable.exec(textAt(at)); found; found = variable.exec(textAt(++at))) {
    const [, name = '', index] = found
    if (fields[name] !== Number(index)) return 0
    missing.delete(name)
  }
  const isComplete =
    missing.size === 0 &&
    textAt(at) === 'http-request set-var(txn.entra.ok) var(txn.entra.hit),length,bool' &&
    textAt(at + 1) === `http-request lua.entra-auth ${policy} unless ${isHit}`
  return isComplete ? at + 2 - start : 0
}
