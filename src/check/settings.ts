import type { Config, PolicyConfig } from '../config/config.ts'
import { formatPath } from '../config/problems.ts'
import { isLoopback } from '../loopback.ts'
import type { Finding } from './report.ts'

/** Longest clock skew and cache time that need no word, in seconds. */
const usualSeconds = 300

/** A certificate with less time left should have been renewed, in ms. */
const renewalMs = 7 * 24 * 3_600_000

/** Looks at settings that are allowed but dangerous, or that need something in the registration. */
export function checkSettings(config: Config, nowMs: number): Finding[] {
  return [
    ...config.policies.flatMap((policy) => checkReportOnly(policy, nowMs)),
    ...checkListener(config),
    ...checkCertificate(config, nowMs),
    ...checkTimes(config),
    ...config.policies.flatMap(noteOptionalClaims),
  ]
}

function checkReportOnly({ name, reportOnlyUntilMs }: PolicyConfig, nowMs: number): Finding[] {
  if (reportOnlyUntilMs === undefined || nowMs >= reportOnlyUntilMs) return []
  const until = new Date(reportOnlyUntilMs).toISOString()
  return [
    {
      level: 'warning',
      path: formatPath(['policies', name, 'reportOnlyUntil']),
      message: `POLICY ${name} PROTECTS NOTHING UNTIL ${until}: every request is let through, with a good token, a bad one or none`,
      hint: 'Remove reportOnlyUntil as soon as the log shows no refusal that is a mistake.',
    },
  ]
}

function checkListener(config: Config): Finding[] {
  if (isLoopback(config.listen.host)) return []
  const findings: Finding[] = []
  if (config.listen.tls === undefined) {
    findings.push({
      level: 'warning',
      path: 'listen',
      message: `answers on ${config.listen.host} without TLS: whoever is on the way from HAProxy can forge an allow`,
      hint: 'Run the service on the host (or in the pod) of HAProxy and listen on 127.0.0.1, or set listen.tls.',
    })
  }
  if (config.callerKey === undefined) {
    findings.push({
      level: 'warning',
      path: 'callerKeyFile',
      message:
        'is missing although the verify listener is not on loopback: anybody can try tokens and policy names',
      hint: 'Name a file with a key that HAProxy sends in X-Entra-Auth-Key.',
    })
  }
  return findings
}

/** A renewal that fails goes unnoticed until the certificate ends, and then nobody gets in. */
function checkCertificate({ listen: { tls } }: Config, nowMs: number): Finding[] {
  if (tls === undefined || tls.notAfterMs - nowMs > renewalMs) return []
  const ended = tls.notAfterMs <= nowMs
  return [
    {
      level: ended ? 'problem' : 'warning',
      path: formatPath(['listen', 'tls', 'certificateFile']),
      message: `names a certificate that ${ended ? 'ended' : 'ends'} at ${new Date(tls.notAfterMs).toISOString()}`,
      hint: 'Renew it: HAProxy refuses a verifier whose certificate has ended.',
    },
  ]
}

function checkTimes({ clockSkewSeconds, policies }: Config): Finding[] {
  const skew: Finding[] =
    clockSkewSeconds > usualSeconds
      ? [
          {
            level: 'warning',
            path: 'clockSkewSeconds',
            message: `admits tokens for ${clockSkewSeconds} s after they expired`,
            hint: 'Keep it at 300 or less, and the clock right.',
          },
        ]
      : []
  return [
    ...skew,
    ...policies
      .filter(({ cacheSeconds }) => cacheSeconds > usualSeconds)
      .map(
        ({ name, cacheSeconds }): Finding => ({
          level: 'warning',
          path: formatPath(['policies', name, 'cacheSeconds']),
          message: `lets HAProxy keep a verdict for ${cacheSeconds} s`,
          hint: 'Keep it at 300 or less, or leave it out: 300 costs one request to the service in 300 s for each token.',
        }),
      ),
  ]
}

/** Claims that a token has only where the registration of the API asks for them. */
function noteOptionalClaims({ name, allow, deny, requireIdtyp }: PolicyConfig): Finding[] {
  const note = (what: string, claim: string, hint: string): Finding => ({
    level: 'note',
    path: formatPath(['policies', name]),
    message: `${what} need${what.endsWith('s') ? '' : 's'} the claim ${claim} in the access token`,
    hint: `${hint} (App registrations > API > Token configuration).`,
  })
  const guests =
    allow.some((grant) => grant.guests === false) || deny.some((rule) => rule.guests === true)
  const agents = [...allow, ...deny].some((rule) => rule.actor === 'agent')
  const groups = [...allow, ...deny].some((rule) => rule.groups !== undefined)
  return [
    ...(guests
      ? [note('rules on guests', 'acct', 'Add it as an optional claim; without it all are guests')]
      : []),
    ...(agents
      ? [
          note(
            'rules on agents',
            'xms_act_fct, xms_sub_fct or xms_par_app_azp',
            'Add all three as optional claims; without them an agent counts as an app or a user',
          ),
        ]
      : []),
    ...(groups
      ? [
          note(
            'rules on groups',
            'groups',
            'Add the groups claim, best "assigned to the application"',
          ),
        ]
      : []),
    ...(requireIdtyp ? [note('requireIdtyp', 'idtyp', 'Add it as an optional claim')] : []),
  ]
}
