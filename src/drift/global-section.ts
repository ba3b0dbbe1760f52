import { isLocal } from './address.ts'
import { type Finding, finding } from './finding.ts'
import type { HaproxyConfig, Line } from './haproxy-file.ts'
import { placeOf, settingOf } from './proxy.ts'

/** A token has up to 16 KiB, and the rest of a request's head needs room beside it. */
const smallestHead = 18_432
/** Below this, a body that fills the buffer leaves no room for the identity headers. */
const smallestRewrite = 8_192

/**
 * With them, HAProxy goes on with requests whose end a server may see elsewhere: with a length and chunks
 * at once, or with a body that HTTP/1.0 does not know.
 */
const laxSettings = new Set([
  'h1-accept-payload-with-any-method',
  'h1-do-not-close-on-insecure-transfer-encoding',
])

/** Settings of the whole process. */
export function checkGlobal({ sections, files }: HaproxyConfig): Finding[] {
  const globals = sections.filter(({ kind }) => kind === 'global')
  const [first] = globals
  const place = first ? placeOf(first.head, first) : { file: files[0] ?? '', line: 1 }
  const lineOf = (keyword: string) =>
    globals.map((section) => settingOf(section, keyword)).findLast((line) => line !== undefined)
  const findings: Finding[] = []
  if (!lineOf('zero-warning')) {
    findings.push(
      finding(
        'zero-warning-missing',
        place,
        'starts in spite of warnings, such as the one that http-request rules are ignored',
        'Add zero-warning to the global section.',
      ),
    )
  }
  if (!lineOf('noreuseport')) {
    findings.push(
      finding(
        'noreuseport-missing',
        place,
        "lets a second process share the port of the verifier's section and answer the action",
        'Add noreuseport to the global section.',
      ),
    )
  }
  for (const section of globals) {
    for (const line of section.lines.filter(({ words }) => laxSettings.has(words[0] ?? ''))) {
      findings.push(
        finding(
          'violations-accepted',
          placeOf(line, section),
          `has ${line.words[0]}: a server may read such a request in another way than HAProxy`,
          'Remove it.',
        ),
      )
    }
  }
  for (const section of globals) {
    for (const line of section.lines.filter(isOpenSocket)) {
      findings.push(
        finding(
          'socket-open',
          placeOf(line, section),
          'lets everybody on the network command HAProxy, such as to ask another program in place of the verifier',
          'Listen on a unix socket with mode 600 or on loopback, or add: ssl crt FILE verify required ca-file FILE.',
        ),
      )
    }
  }
  const bufsize = lineOf('tune.bufsize')
  const maxrewrite = lineOf('tune.maxrewrite')
  const isUnknown = [bufsize, maxrewrite].some((line) => line && line.unresolved.length > 0)
  const rewrite = bytes(maxrewrite?.words[1], 1_024)
  const head = bytes(bufsize?.words[1], 16_384) - rewrite
  if (!isUnknown && !(head >= smallestHead && rewrite >= smallestRewrite)) {
    findings.push(
      finding(
        'buffers-small',
        place,
        'has buffers that are too small for a large token or its identity headers: such requests always fail',
        'Write tune.bufsize 32768 and tune.maxrewrite 12288 in the global section.',
      ),
    )
  }
  return findings
}

/**
 * A command socket beyond this host. Level `admin` changes the address of a server; `operator`, the default, reads
 * the environment with the caller key in it, and the identities that threads share.
 */
function isOpenSocket({ words: [first, second, addresses = '', ...options] }: Line): boolean {
  if (first !== 'stats' || second !== 'socket') return false
  if (addresses.split(',').every(isLocal)) return false
  const text = options.join(' ')
  return !/\blevel user\b/.test(text) && !/\bverify required\b/.test(text)
}

/** A size of HAProxy, `32k` as well. */
function bytes(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const [, number, unit = ''] = /^(\d+)([kmg]?)$/i.exec(text) ?? []
  const factor = { '': 1, k: 1_024, m: 1_048_576, g: 1_073_741_824 }[unit.toLowerCase()] ?? 1
  return Number(number ?? Number.NaN) * factor
}
