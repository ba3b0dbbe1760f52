import type { AuthorizeRequest } from './authorize-request.ts'
import { EntraError } from './entra-error.ts'
import { findUser, personas, type UserPersona } from './personas.ts'
import { type Refusal, type RefusalBoard, refuse } from './refusals.ts'
import type { SsoSession } from './sso-sessions.ts'

/** What a person answered on the pages so far. */
export interface SignInAnswers {
  /** Persona that was clicked. */
  readonly account?: string
  /** The second factor was shown. */
  readonly multiFactor: boolean
  readonly consent?: 'accept' | 'cancel'
  /** "Use another account". */
  readonly other: boolean
}

/** What comes next: a page, an error, or the person is signed in. */
export type SignInStep =
  | {
      readonly kind: 'picker'
      readonly candidates: readonly UserPersona[]
      readonly alert?: string
    }
  | { readonly kind: 'enter'; readonly persona: UserPersona; readonly alert?: string }
  | {
      readonly kind: 'multi-factor' | 'multi-factor-registration' | 'consent'
      readonly persona: UserPersona
    }
  | { readonly kind: 'refused'; readonly failure: EntraError; readonly persona?: UserPersona }
  | { readonly kind: 'done'; readonly persona: UserPersona }

/** What the decision looks at; it changes nothing. */
export interface SignInSituation {
  readonly request: AuthorizeRequest
  readonly session: SsoSession
  readonly answers: SignInAnswers
  readonly refusals: RefusalBoard
  /** Whether this person has consented to this client. */
  readonly hasConsented: (persona: UserPersona, clientId: string) => boolean
  /** The client shows no pages: every question counts as answered well. */
  readonly withoutPages: boolean
}

/** Persona of clients that show no pages and name nobody. */
const defaultPersona = 'alice'
/** Authentication context that wants a second factor, and the one that no session satisfies. */
const multiFactorContext = 'c1'
const blockedContext = 'c2'

/** Decides what follows on an authorization request, as Entra does. */
export function decideSignIn(situation: SignInSituation): SignInStep {
  const { request } = situation
  const silent = request.prompt === 'none'
  const choice = choosePersona(situation)
  if (choice.kind !== 'done') return choice
  const { persona } = choice
  if (!belongsTo(persona, request.segment)) {
    const failure = new EntraError(
      400,
      silent ? 'interaction_required' : 'access_denied',
      50020,
      `User account '${persona.upn}' from another tenant does not exist in tenant '${request.segment}'. The account needs to be added as an external user in the tenant first.`,
    )
    return { kind: 'refused', failure, persona }
  }
  return decideAccess(situation, persona)
}

function choosePersona(situation: SignInSituation): SignInStep {
  const { request, session, answers, withoutPages } = situation
  const { prompt, loginHint, sid } = request
  if (answers.account !== undefined) return enter(findUser(answers.account), situation)

  const bySid = [...session.values()].find((account) => account.sid === sid)?.persona
  const hint = sid === undefined || loginHint !== undefined ? loginHint : bySid
  const hinted = hint === undefined ? undefined : findUser(hint)
  if (prompt === 'none') return chooseSilently(situation, hint, hinted)
  if (hint !== undefined && !hinted) {
    if (withoutPages) return refuseUnknown(hint)
    const alert = `We couldn't find an account with the name ${hint}.`
    return { kind: 'picker', candidates: listCandidates(request), alert }
  }
  if (withoutPages) {
    const [only] = session.keys()
    const persona = hinted ?? findUser(only ?? defaultPersona)
    return enter(persona, situation)
  }
  const fresh = prompt !== 'login' && prompt !== 'select_account' && !answers.other
  if (hinted && !answers.other && prompt !== 'select_account') {
    if (fresh && session.has(hinted.name)) return { kind: 'done', persona: hinted }
    return { kind: 'enter', persona: hinted }
  }
  const [first, ...others] = listSignedIn(situation)
  if (fresh && first && others.length === 0) return { kind: 'done', persona: first }
  return { kind: 'picker', candidates: listCandidates(request) }
}

function enter(persona: UserPersona | undefined, situation: SignInSituation): SignInStep {
  if (!persona) return refuseUnknown(situation.answers.account ?? '')
  if (situation.refusals.get(persona.name) !== 'disabled') return { kind: 'done', persona }
  const failure = refuse('disabled', persona.upn, situation.request.client.appId, 'access_denied')
  if (situation.withoutPages) return { kind: 'refused', failure, persona }
  return { kind: 'enter', persona, alert: failure.message }
}

function chooseSilently(
  situation: SignInSituation,
  hint: string | undefined,
  hinted: UserPersona | undefined,
): SignInStep {
  const [first, ...others] = listSignedIn(situation)
  const chosen = hint === undefined ? first : hinted
  if (hint === undefined && others.length > 0) {
    const failure = new EntraError(
      400,
      'interaction_required',
      16000,
      'Several accounts are signed in, and the request does not say which one is meant. The user has to choose.',
    )
    return { kind: 'refused', failure }
  }
  if (chosen && situation.session.has(chosen.name)) return { kind: 'done', persona: chosen }
  const failure = new EntraError(
    400,
    'login_required',
    50058,
    'A silent sign-in request was sent but no user is signed in.',
  )
  return { kind: 'refused', failure }
}

function decideAccess(situation: SignInSituation, persona: UserPersona): SignInStep {
  const { request, session, answers, refusals, withoutPages } = situation
  const { client, prompt, contexts } = request
  const silent = prompt === 'none'
  const account = session.get(persona.name)
  const multiFactor =
    account?.multiFactor === true || answers.multiFactor || (withoutPages && !silent)
  const wanted = [refusals.get(persona.name), refusals.get(client.name)]
  if (contexts.includes(blockedContext)) wanted.push('conditional-access')
  if (contexts.includes(multiFactorContext)) wanted.push('multi-factor')
  const is = (refusal: Refusal) => wanted.includes(refusal)
  const refusedAs = (refusal: Refusal): SignInStep => ({
    kind: 'refused',
    persona,
    failure: silent
      ? refuse(refusal, persona.upn, client.appId)
      : refuse(refusal, persona.upn, client.appId, 'access_denied'),
  })

  for (const refusal of ['not-assigned', 'admin-consent-missing', 'conditional-access'] as const) {
    if (is(refusal)) return refusedAs(refusal)
  }
  for (const factor of ['multi-factor-registration', 'multi-factor'] as const) {
    if (!is(factor) || multiFactor) continue
    return silent ? refusedAs(factor) : { kind: factor, persona }
  }
  const missing = is('consent-missing') && !situation.hasConsented(persona, client.appId)
  if (answers.consent === 'cancel') {
    const failure = new EntraError(
      400,
      'access_denied',
      65004,
      'User declined to consent to access the app.',
    )
    return { kind: 'refused', failure, persona }
  }
  if ((missing || prompt === 'consent') && answers.consent !== 'accept') {
    if (silent || (withoutPages && missing)) return refusedAs('consent-missing')
    if (!withoutPages) return { kind: 'consent', persona }
  }
  return { kind: 'done', persona }
}

function listSignedIn({ request, session }: SignInSituation): UserPersona[] {
  return [...session.keys()].flatMap((name) => {
    const persona = findUser(name)
    return persona && belongsTo(persona, request.segment) && isOfDomain(persona, request)
      ? [persona]
      : []
  })
}

function listCandidates(request: AuthorizeRequest): UserPersona[] {
  return personas.filter(
    (persona): persona is UserPersona =>
      persona.kind === 'user' &&
      // Agents sign in by other ways.
      persona.extraClaims === undefined &&
      isOfDomain(persona, request),
  )
}

function isOfDomain({ upn }: UserPersona, { domainHint }: AuthorizeRequest): boolean {
  return domainHint === undefined || upn.endsWith(`@${domainHint}`)
}

function belongsTo({ tenant }: UserPersona, segment: string): boolean {
  return segment === 'common' || segment === 'organizations' || tenant.id === segment
}

function refuseUnknown(name: string): SignInStep {
  const failure = new EntraError(
    400,
    'access_denied',
    50034,
    `The user account ${name} does not exist in the directory.`,
  )
  return { kind: 'refused', failure }
}
