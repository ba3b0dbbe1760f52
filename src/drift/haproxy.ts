import type { Config } from '../config/config.ts'
import { checkAttachedServers } from './attached-server.ts'
import { checkCaching } from './caching.ts'
import { checkCredentials } from './credentials.ts'
import { checkEarlyAnswers } from './early-answer.ts'
import { type Finding, finding } from './finding.ts'
import { checkGlobal } from './global-section.ts'
import type { HaproxyConfig } from './haproxy-file.ts'
import { checkMethodOverride } from './method-override.ts'
import { checkPaths } from './paths.ts'
import { checkPolicyChoice } from './policy-choice.ts'
import { checkPolicyNames, checkReached, policiesOf } from './policy-names.ts'
import { checkModes, checkProtection, checkStrictMode, hasWrongMode } from './protection.ts'
import { type ProxySection, readTopology } from './proxy.ts'
import { checkSharedServers } from './shared-servers.ts'
import { checkSignIn, findSignIn, signInCodes } from './sign-in.ts'
import { checkStripping } from './stripping.ts'
import { checkUnknownWords } from './unknown-word.ts'
import { checkVerdictVariables } from './verdict-variables.ts'
import { checkVerifierRules } from './verifier-rules.ts'
import { checkReplicas, checkVerifier, findVerifier } from './verifier-section.ts'
import { readWays } from './way.ts'

export interface HaproxyResult {
  readonly findings: readonly Finding[]
  /** How many findings `# drift: ignore CODE` has taken out. */
  readonly ignored: number
}

/** Compares a HAProxy configuration with the policies. */
export function checkHaproxy(haproxy: HaproxyConfig, config: Config): HaproxyResult {
  const readings = haproxy.branches.length > 0 ? haproxy.branches : [haproxy]
  const results = readings.map((reading) => checkReading(reading, config))
  // Where sign-in is switched on by a condition, it is judged where it is on.
  const isConditional = results.some(({ hasSignIn }) => hasSignIn)
  const found = results.map(({ findings, hasSignIn }) =>
    isConditional && !hasSignIn ? findings.filter(({ code }) => !signInCodes.has(code)) : findings,
  )
  // What is missing in one branch only is no loss where it is only unused.
  const all = found
    .flat()
    .filter(
      (one) =>
        one.code !== 'policy-unused' ||
        found.every((others) => others.some((other) => keyOf(other) === keyOf(one))),
    )
  const distinct = [...new Map(all.map((one) => [keyOf(one), one])).values()]
  const findings = distinct.filter((one) => !isIgnored(one, haproxy))
  return { findings, ignored: distinct.length - findings.length }
}

interface Reading {
  readonly findings: Finding[]
  readonly hasSignIn: boolean
}

function checkReading(haproxy: HaproxyConfig, config: Config): Reading {
  const topology = readTopology(haproxy)
  const verifier = findVerifier(topology)
  const signIn = findSignIn(topology, config)
  const exempt = new Set<ProxySection>([...verifier.own, ...signIn])
  const isExempt = (proxy: ProxySection) => exempt.has(proxy)
  const isVerifier = (proxy: ProxySection) => isExempt(proxy) && !signIn.includes(proxy)
  const all = readWays(topology)
  const inHttp = all.filter(
    ({ entry, target }) =>
      !hasWrongMode(target, topology) && !(entry && hasWrongMode(entry, topology)),
  )
  const ways = inHttp.filter(({ target }) => !isExempt(target))
  const findings = [
    ...checkSyntax(haproxy),
    ...checkGlobal(haproxy),
    ...checkModes(topology),
    ...checkProtection(ways, topology),
    ...checkStrictMode(ways),
    ...checkEarlyAnswers(ways),
    ...checkVerdictVariables(topology),
    ...checkCredentials(ways, config.policies),
    ...checkUnknownWords(topology),
    ...checkAttachedServers(topology),
    ...checkStripping(ways, config.identityHeaders, topology),
    ...checkCaching(ways, config.policies),
    ...checkSharedServers(topology, all, isExempt),
    ...checkPolicyChoice(ways),
    ...checkMethodOverride(ways),
    ...checkPaths(ways, policiesOf, isExempt),
    ...checkVerifier(topology, verifier, config.listen.tls !== undefined),
    ...checkVerifierRules(verifier.sections, config.identityHeaders),
    ...signIn.flatMap((proxy) => checkReplicas(proxy, 'signIn')),
    ...checkReached(topology, isExempt),
    ...checkSignIn(
      inHttp.filter(({ target }) => !isVerifier(target)),
      config,
      signIn,
    ),
    ...checkPolicyNames(topology, config.policies),
  ]
  return { findings, hasSignIn: signIn.length > 0 }
}

/** One finding for a place and code, even where several ways lead there. */
function keyOf({ code, place, message }: Finding): string {
  const hasMore = code === 'verifier-slow' || code === 'policy-unused'
  return JSON.stringify([code, place, hasMore ? message : ''])
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
