import type { Config } from '../config/config.ts'
import { type Finding, finding } from './finding.ts'
import type { HaproxyConfig } from './haproxy-file.ts'
import { checkPaths } from './paths.ts'
import { checkPolicyNames, policiesOf } from './policy-names.ts'
import { checkProtection } from './protection.ts'
import { type ProxySection, readTopology, settingOf } from './proxy.ts'
import { checkStripping } from './stripping.ts'
import { checkVerifier, findVerifier } from './verifier-section.ts'

export interface HaproxyResult {
  readonly findings: readonly Finding[]
  /** How many findings `# drift: ignore CODE` has taken out. */
  readonly ignored: number
}

/** Compares a HAProxy configuration with the policies. */
export function checkHaproxy(haproxy: HaproxyConfig, config: Config): HaproxyResult {
  const topology = readTopology(haproxy)
  const verifier = findVerifier(topology)
  const exempt = new Set<ProxySection>([...verifier.sections, ...verifier.metadata])
  const isExempt = (proxy: ProxySection) => exempt.has(proxy)
  const all = [
    ...checkSyntax(haproxy),
    ...checkGlobal(haproxy),
    ...checkProtection(topology, isExempt),
    ...checkStripping(topology, config.identityHeaders),
    ...checkPaths(topology, policiesOf, isExempt),
    ...checkVerifier(topology, verifier, config.listen.tls !== undefined),
    ...checkPolicyNames(topology, config.policies),
  ]
  const findings = all.filter((one) => !isIgnored(one, haproxy))
  return { findings, ignored: all.length - findings.length }
}

function isIgnored({ code, place }: Finding, { sections }: HaproxyConfig): boolean {
  if (!('file' in place)) return false
  return sections.some(
    ({ ignored, kind, name }) =>
      ignored.has(code) && [kind, name].filter(Boolean).join(' ') === place.section,
  )
}

function checkSyntax({ broken }: HaproxyConfig): Finding[] {
  return broken.map(({ file, number }) =>
    finding(
      'haproxy-syntax',
      { file, line: number },
      'opens a quote that is not closed on this line',
      'Close it, or write a backslash before it; haproxy -c -f FILE checks the rest.',
    ),
  )
}

function checkGlobal({ sections, files }: HaproxyConfig): Finding[] {
  const globals = sections.filter(({ kind }) => kind === 'global')
  const head = globals[0]?.head
  const place = head
    ? { file: head.file, line: head.number, section: 'global' }
    : { file: files[0] ?? '', line: 1 }
  const has = (keyword: string) => globals.some((section) => settingOf(section, keyword))
  const findings: Finding[] = []
  if (!has('zero-warning')) {
    findings.push(
      finding(
        'zero-warning-missing',
        place,
        'starts in spite of warnings, such as the one that http-request rules are ignored',
        'Add zero-warning to the global section.',
      ),
    )
  }
  if (!has('noreuseport')) {
    findings.push(
      finding(
        'noreuseport-missing',
        place,
        "lets a second process share the port of the verifier's section and answer the action",
        'Add noreuseport to the global section.',
      ),
    )
  }
  return findings
}
