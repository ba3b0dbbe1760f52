import type { Observe } from '../failure.ts'
import type { Policy } from '../policy/compile.ts'
import type { RevocationList } from '../revocation/revocation-list.ts'
import type { SealingKeys } from '../session/sealing.ts'
import { claimsOf, openSession, type Session } from '../session/session.ts'
import type { JsonObject } from '../token/decode.ts'
import { outcomeSteps, type Refusal } from '../verify/outcome.ts'
import type { Rules } from '../verify/rules.ts'
import { issuerOf, type SessionStep, verifySession } from '../verify/session-verifier.ts'
import { change } from './advice.ts'
import { adviseChanges, adviseOnGrants } from './changes.ts'
import { type StepDescription, stepDescriptions } from './checks.ts'
import type { Change, Explanation, Said } from './explanation.ts'
import { describeDistance, type Facts, type FailedStep, quoteClaims } from './facts.ts'
import { reportVerdict, type Wording } from './report.ts'

/** What is explained. */
export interface SessionToExplain {
  /** Value of the cookie; empty where the request has more than one. */
  readonly cookie: string
  /** The host that the browser sent it to; the session's own where undefined. */
  readonly host: string | undefined
}

/** What an explanation of a session depends on. */
export interface SessionExplainerContext {
  /** Now, in ms since the epoch. */
  readonly clock: () => number
  readonly sealingKeys: SealingKeys
  readonly revocations: () => RevocationList
}

/** The steps of a verification of a session, in order. */
const sessionSteps = ['session', 'revocation', 'groups', ...outcomeSteps] as const

/** What is known of a session besides what policies judge. */
interface SessionFacts extends Facts {
  /** Whether the request has one cookie of a session. */
  readonly isOne: boolean
  /** What opens, whether it counts or not. */
  readonly opened: Session | undefined
  readonly host: string | undefined
}

/**
 * Runs the verification that /verify runs for the cookie of a session, and tells how each check went.
 * The value of the cookie is not in it.
 */
export function explainSession(
  { clock, sealingKeys, revocations }: SessionExplainerContext,
  rules: Rules,
  policy: Policy,
  { cookie, host: asked }: SessionToExplain,
): Explanation {
  const nowMs = clock()
  const opened = openSession(sealingKeys, cookie)
  const host = asked ?? opened?.host
  const isOne = cookie !== ''
  const facts = { ...collectSessionFacts(rules, policy, opened, host, nowMs), isOne }
  const steps = new Map<SessionStep, FailedStep | undefined>()
  const observe: Observe<SessionStep> = (step, failure) =>
    void steps.set(step, failure && { failure, claim: undefined })
  // /verify reads no cookie for a policy that admits no session.
  const verdict = policy.admitsSessions
    ? verifySession(
        { clock: () => nowMs, sealingKeys, revocations },
        rules,
        policy,
        { cookie: cookie === '' ? undefined : cookie, host },
        observe,
      )
    : ({ allow: false, failure: 'no_credentials' } as Refusal)
  if (!policy.admitsSessions) observe('session', 'no_credentials')
  return reportVerdict(wording, facts, steps, verdict)
}

function collectSessionFacts(
  rules: Rules,
  policy: Policy,
  opened: Session | undefined,
  host: string | undefined,
  nowMs: number,
): Omit<SessionFacts, 'isOne'> {
  const claims = opened && claimsOf(opened, issuerOf(rules, opened))
  return {
    rules,
    policy,
    nowMs,
    credentials: '',
    header: {},
    payload: opened ? payloadOf(opened) : {},
    origin: undefined,
    claims,
    authority: opened && rules.authorities.get(opened.tenantId),
    opened,
    host,
  }
}

/** The session in the words of the ID token that it rests on. */
function payloadOf(session: Session): JsonObject {
  const { guest, groupsOverage } = session
  return {
    oid: session.userId,
    tid: session.tenantId,
    aud: session.clientId,
    azp: session.clientId,
    roles: session.roles,
    ...(!groupsOverage && { groups: session.groups }),
    ...(guest !== undefined && { acct: guest ? 1 : 0 }),
    acrs: session.authContexts,
    ...(session.entraSessionId !== undefined && { sid: session.entraSessionId }),
  }
}

/** The steps that only sessions have, and those that look at something else for them. */
const descriptions: Partial<Readonly<Record<SessionStep, StepDescription<SessionFacts>>>> = {
  session: {
    title: 'it is a session of this host that has not ended',
    expected: ({ rules: { sessions } }) =>
      sessions
        ? [`one of client ${sessions.clientId} in tenant ${sessions.tenantId}, before its end`]
        : [],
    said: ({ opened, host, nowMs }) =>
      opened
        ? [
            { claim: 'id', value: opened.id },
            {
              claim: 'host',
              value: opened.host,
              ...(host !== opened.host && { note: `not ${host}` }),
            },
            { claim: 'client', value: opened.clientId },
            { claim: 'tenant', value: opened.tenantId },
            quoteTime('signed in', opened.signedInAt, nowMs),
            quoteTime('checked by Entra', opened.checkedAt, nowMs),
            quoteTime('next check', opened.softEnd, nowMs),
            quoteTime('ends', opened.hardEnd, nowMs),
          ]
        : [],
  },
  revocation: {
    title: 'it was not revoked',
    expected: () => ['no revocation of its id, sid, user, tenant, client or key'],
    said: ({ opened, payload }) => [
      ...(opened ? [{ claim: 'id', value: opened.id }] : []),
      ...quoteClaims(payload, 'sid', 'oid', 'tid', 'azp'),
    ],
  },
  groups: {
    title: 'it was asked for the groups that the policy names',
    expected: ({ policy }) => [...policy.groupsNamed],
    said: ({ payload }) => quoteClaims(payload, 'groups'),
  },
  audience: {
    title: 'it is for this service',
    expected: () => [],
    said: ({ payload }) => quoteClaims(payload, 'aud'),
  },
  lifetime: {
    title: 'it was not issued for too long',
    expected: () => ['nothing: sessionHours limits a session'],
    said: () => [],
  },
  app_only: {
    title: 'an app says that it is one',
    expected: () => ['nothing: only people have sessions'],
    said: () => [],
  },
}

function quoteTime(claim: string, seconds: number, nowMs: number): Said {
  const distance = describeDistance(seconds - nowMs / 1000)
  return { claim, value: new Date(seconds * 1000).toISOString(), note: distance }
}

const wording: Wording<SessionStep, SessionFacts> = {
  order: sessionSteps,
  describe: (step) => descriptions[step] ?? stepDescriptions[step as 'deny'],
  advise: adviseOnSession,
}

/** Claims are as old as the last check by Entra. */
const signInAgain = change(
  'request',
  'Then sign out and sign in again: a session keeps what Entra said of the person.',
)

function adviseOnSession(
  step: SessionStep,
  facts: SessionFacts,
  failed: FailedStep,
): readonly Change[] {
  const { policy } = facts
  switch (failed.failure) {
    case 'no_credentials':
      return [
        change(
          'policy',
          `The policy ${policy.name} admits no sessions. Add a grant with "session: true", if browsers should get in.`,
        ),
      ]
    case 'no_session':
      return adviseOnNone(facts)
    case 'session_ended':
      return [
        change('request', 'Sign in again. Opening a page does that.'),
        change('configuration', 'If sessions end too early, raise signIn.sessionHours.'),
      ]
    case 'session_revoked':
      return [
        change('request', 'Sign in again, if the person is still welcome.'),
        change(
          'policy',
          'haproxy-entra-auth revocations list shows the revocation and why it was made; haproxy-entra-auth revocations remove ends it.',
        ),
      ]
    case 'session_recheck':
      return [
        change(
          'request',
          'The policies name other groups than at the sign-in. Open a page: it goes by Entra, usually without a click.',
        ),
      ]
    case 'step_up_required':
      return [
        change(
          'request',
          `Open a page: the browser is sent to a stronger sign-in. A script has to open /oauth2/start?acrs=${contextOf(facts)} itself.`,
        ),
        change(
          'directory',
          `If the sign-in ends with step_up_required: publish the authentication context ${contextOf(facts)} and require it in a Conditional Access policy for client ${facts.claims?.clientId}.`,
        ),
      ]
    default: {
      const changes =
        step === 'allow' ? adviseOnGrants(facts, failed) : adviseChanges(facts, failed)
      return step === 'deny' ? changes : [...changes, signInAgain]
    }
  }
}

function contextOf({ policy }: Facts): string {
  return policy.allow.find(({ authContext }) => authContext !== undefined)?.authContext ?? ''
}

/** Why a value is no session, which the reply of /verify never says. */
function adviseOnNone({
  rules: { sessions },
  opened,
  host,
  nowMs,
  isOne,
}: SessionFacts): readonly Change[] {
  if (!sessions) {
    return [change('configuration', 'Nobody can sign in: add the section signIn.')]
  }
  if (!isOne) {
    return [
      change(
        'request',
        'The request has more than one cookie of a session, so none counts. Remove the cookies of this host in the browser.',
      ),
    ]
  }
  if (!opened) {
    return [
      change(
        'request',
        'The value does not open. Copy it whole: it may be cut, altered, or the cookie of something else.',
      ),
      change(
        'configuration',
        'If it is whole: it was sealed with a key that is not in the folder signIn.sealingKeys. All replicas need the same keys.',
      ),
    ]
  }
  if (sessions.hosts.match(host) === undefined) {
    return [change('configuration', `Nobody can sign in at ${host}: add it to signIn.hosts.`)]
  }
  if (sessions.hosts.match(host) !== opened.host) {
    return [
      change(
        'request',
        `The session is for ${opened.host}. Each host has a session of its own: sign in at ${host}.`,
      ),
    ]
  }
  if (opened.checkedAt > nowMs / 1000 + sessions.clockSkewSeconds) {
    return [
      change(
        'configuration',
        'The session is from the future. Set the clocks of all replicas, then sign in again.',
      ),
    ]
  }
  return [
    change(
      'configuration',
      `The session was made with client ${opened.clientId} in tenant ${opened.tenantId}, and signIn names ${sessions.clientId} in ${sessions.tenantId}. Sign in again.`,
    ),
  ]
}
