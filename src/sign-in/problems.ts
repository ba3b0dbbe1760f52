/** What a page says of a sign-in that did not work. */
export interface Problem {
  readonly status: 400 | 403 | 404 | 405 | 421 | 429 | 500 | 502 | 503
  readonly title: string
  /** What happened. */
  readonly text: string
  /** What to do, and who does it. */
  readonly advice: string
}

/** Every page of an error, by its reason: the code on the page, in the log and in the metric. */
export const problems = {
  access_denied: {
    status: 403,
    title: 'You cannot sign in to this application',
    text: 'Microsoft Entra ID did not let you in: you may not be assigned to this application, a rule of your organisation may block this sign-in, or it was cancelled.',
    advice:
      'Ask the administrator of your organisation to assign you, and name the details below. If you cancelled, try again.',
  },
  consent_required: {
    status: 403,
    title: 'This application needs an approval first',
    text: 'Nobody has allowed this application to sign people in yet.',
    advice: 'Ask the administrator of your organisation to grant consent to it.',
  },
  step_up_required: {
    status: 403,
    title: 'A stronger sign-in is needed',
    text: 'This page asks for a stronger sign-in, and Microsoft Entra ID did not confirm one.',
    advice: 'Try again. If it does not help, ask the administrator of your organisation.',
  },
  invalid_client: {
    status: 503,
    title: 'Sign-in is out of order',
    text: 'Microsoft Entra ID no longer accepts the credential of this application. It may have expired.',
    advice: 'Tell whoever runs this application. Sessions that are open go on.',
  },
  invalid_grant: {
    status: 400,
    title: 'This sign-in was used before',
    text: 'A sign-in can be completed once and within a few minutes. This one was completed before, or took too long.',
    advice: 'Sign in again.',
  },
  entra_unavailable: {
    status: 503,
    title: 'Microsoft Entra ID cannot be reached',
    text: 'This application could not reach Microsoft Entra ID, or got an error from it.',
    advice: 'Wait a minute and try again. If it lasts, tell whoever runs this application.',
  },
  overloaded: {
    status: 503,
    title: 'There is too much to do right now',
    text: 'This application is overloaded and could not sign you in.',
    advice: 'Wait a minute and try again. If it lasts, tell whoever runs this application.',
  },
  cookies_blocked: {
    status: 400,
    title: 'Your browser sent no cookie back',
    text: 'Signing in needs a cookie of this site. It is blocked, or more than an hour has passed since you began.',
    advice: 'Allow cookies for this site, then try again.',
  },
  too_many_starts: {
    status: 429,
    title: 'Signing in does not come to an end',
    text: 'This browser began to sign in several times within a minute and never arrived.',
    advice:
      'Wait a minute and try again. If it happens again, tell whoever runs this application: a cookie is lost on the way, or a clock is wrong.',
  },
  state_invalid: {
    status: 400,
    title: 'This sign-in does not belong here',
    text: 'The answer that came back belongs to another browser, to another site or to no sign-in at all.',
    advice: 'Go to the page that you wanted, and sign in again.',
  },
  id_token_refused: {
    status: 502,
    title: 'The answer of Microsoft Entra ID was refused',
    text: 'What Microsoft Entra ID sent did not pass the checks of this application.',
    advice: 'Try again. If it happens again, tell whoever runs this application.',
  },
  session_too_large: {
    status: 403,
    title: 'There is too much to remember about you',
    text: 'Your roles in this application do not fit into a session.',
    advice: 'Ask the administrator of your organisation to assign you fewer app roles.',
  },
  host_unknown: {
    status: 421,
    title: 'Nobody can sign in at this address',
    text: 'Sign-in is not set up for the host name in the address bar.',
    advice: 'Check the address, or tell whoever runs this application.',
  },
  not_found: {
    status: 404,
    title: 'There is no such page',
    text: 'Nothing is answered at this address.',
    advice: 'Go back to the application.',
  },
  method_not_allowed: {
    status: 405,
    title: 'This is not how this page is used',
    text: 'The page was called in a way that it does not answer.',
    advice: 'Go back to the application.',
  },
  malformed_request: {
    status: 400,
    title: 'The request could not be read',
    text: 'Something in the request is too long or malformed.',
    advice: 'Go back to the application and try again.',
  },
  sign_in_failed: {
    status: 502,
    title: 'Signing in did not work',
    text: 'Microsoft Entra ID answered with an error.',
    advice: 'Ask the administrator of your organisation, and name the details below.',
  },
  internal_error: {
    status: 500,
    title: 'Something went wrong here',
    text: 'This application failed on your request.',
    advice: 'Try again. If it happens again, tell whoever runs this application.',
  },
} as const satisfies Record<string, Problem>

/** Reason of a page. */
export type ProblemCode = keyof typeof problems

/** What Entra says of an error, as far as it can be shown: only what has exactly this form. */
export interface EntraDetails {
  readonly number: string | undefined
  readonly correlationId: string | undefined
}

/**
 * Takes the number and the correlation id out of a description. The rest is never shown: anybody can
 * write a text into a link, and it would look like ours.
 */
export function readDetails(description: unknown): EntraDetails {
  const text = typeof description === 'string' ? description.slice(0, 4_096) : ''
  return {
    number: /\bAADSTS\d{4,8}\b/.exec(text)?.[0],
    correlationId:
      /\bCorrelation ID: ([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b/i.exec(
        text,
      )?.[1],
  }
}

/** The page for an OAuth error. Microsoft: never branch on the AADSTS number. */
export function problemOf(error: string): ProblemCode {
  switch (error) {
    case 'access_denied':
    case 'login_required':
    case 'interaction_required':
    case 'account_selection_required':
      return 'access_denied'
    case 'consent_required':
      return 'consent_required'
    case 'invalid_client':
    case 'unauthorized_client':
    case 'credential':
      return 'invalid_client'
    case 'invalid_grant':
      return 'invalid_grant'
    case 'id_token_refused':
    case 'overloaded':
      return error
    case 'entra_unavailable':
    case 'server_error':
    case 'temporarily_unavailable':
      return 'entra_unavailable'
    default:
      return 'sign_in_failed'
  }
}

/** What nobody but whoever runs the service can mend. */
export function isOutage(code: ProblemCode): boolean {
  return code === 'entra_unavailable' || code === 'invalid_client'
}

/** Errors that say nothing of the person: a good session outlives them. */
export function isHarmless(code: ProblemCode): boolean {
  return isOutage(code) || code === 'id_token_refused' || code === 'overloaded'
}
