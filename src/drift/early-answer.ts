import { conditionHolds } from './condition.ts'
import { isAction, isAnswer, isRedirect, leadsToTls } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import { type ProxySection, placeOf, type Rule, settingOf } from './proxy.ts'
import type { Step, Way } from './way.ts'

/** Answers that HAProxy gives by itself before the action has seen the request. */
export function checkEarlyAnswers(ways: readonly Way[]): Finding[] {
  return ways.flatMap((way) => {
    const at = way.steps.findIndex(({ rule }) => isAction(rule))
    if (at < 0) return []
    const action = way.steps[at]
    return way.steps
      .slice(0, at)
      .filter(({ rule }) => conditionHolds(rule.condition, way.known) !== false)
      .flatMap((step) => answerOf(step, action?.proxy === step.proxy))
      .concat(checkStats(way, action?.proxy))
  })
}

/** HAProxy's own page comes behind the http-request rules of its section, and so before those of the backend. */
function checkStats({ entry }: Way, acting: ProxySection | undefined): Finding[] {
  const line = entry && entry !== acting && settingOf(entry.section, 'stats')
  if (!line) return []
  return [
    finding(
      'early-answer',
      entry.section.lines.includes(line) ? placeOf(line, entry.section) : entry.place,
      'shows the page of statistics before the action has verified the request',
      'Give the page a section of its own that listens on loopback.',
    ),
  ]
}

function answerOf({ rule, proxy }: Step, isBesideAction: boolean): Finding[] {
  const place = placeOf(rule.line, proxy.section)
  if (rule.action === 'cache-use') {
    return [
      finding(
        'early-cache',
        place,
        'answers from the cache before the action has verified the request: content of one person, for everybody',
        'Move it behind the guard.',
      ),
    ]
  }
  // A redirect in front of the routing tells nothing that belongs to an application.
  const redirects = isRedirect(rule) && isBesideAction && !leadsToTls(rule)
  if ((!isAnswer(rule) && !redirects) || isAcmeOnly(rule)) return []
  return [
    finding(
      'early-answer',
      place,
      `answers with ${rule.keyword} ${rule.action} before the action has verified the request`,
      'Move it behind the guard; if everybody may have this answer, write "# drift: ignore early-answer" in the section.',
    ),
  ]
}

const acmePath = '/.well-known/acme-challenge/'

/** The answer to a certificate authority (RFC 8555, section 8.3), which everybody may have. */
function isAcmeOnly({ condition }: Rule): boolean {
  const holds = (path: string) => conditionHolds(condition, { facts: [], request: { path } })
  const others = ['/', '/x', '/.well-known/x', `/x${acmePath}x`]
  return holds(`${acmePath}x`) !== false && others.every((path) => holds(path) === false)
}
