import { EntraError } from './entra-error.ts'

interface RefusalKind {
  /** AADSTS number. */
  readonly code: number
  /** What can be refused this way. */
  readonly subjects: readonly ('persona' | 'client')[]
  /** OAuth error of a request without a page (`prompt=none`). */
  readonly silentError: string
  /** What dev-entra says, about this person and this application. */
  readonly sentence: (person: string, application: string) => string
}

const everybody = ['persona', 'client'] as const

/**
 * Each way in which Entra can refuse a sign-in, as Microsoft documents its numbers:
 * https://learn.microsoft.com/entra/identity-platform/reference-error-codes
 */
export const refusalKinds = {
  disabled: {
    code: 50057,
    subjects: ['persona'],
    silentError: 'login_required',
    sentence: () => 'The user account is disabled.',
  },
  'not-assigned': {
    code: 50105,
    subjects: everybody,
    silentError: 'interaction_required',
    sentence: (person, application) =>
      `The application '${application}' admits only people who are assigned to it, and '${person}' is not, neither directly nor by a group. An administrator can assign access.`,
  },
  'consent-missing': {
    code: 65001,
    subjects: everybody,
    silentError: 'interaction_required',
    sentence: (_person, application) =>
      `Neither the user nor an administrator has consented to use the application with ID '${application}'. Send an interactive authorization request for this user and resource.`,
  },
  'admin-consent-missing': {
    code: 90094,
    subjects: everybody,
    silentError: 'interaction_required',
    sentence: (_person, application) =>
      `The application '${application}' needs permissions that only an administrator can grant.`,
  },
  'conditional-access': {
    code: 53003,
    subjects: everybody,
    silentError: 'interaction_required',
    sentence: () =>
      'Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.',
  },
  'multi-factor': {
    code: 50076,
    subjects: everybody,
    silentError: 'interaction_required',
    sentence: (_person, application) =>
      `Multi-factor authentication is needed to access '${application}', by a change of configuration or because of a new location.`,
  },
  'multi-factor-registration': {
    code: 50079,
    subjects: everybody,
    silentError: 'interaction_required',
    sentence: (_person, application) =>
      `The user must enrol in multi-factor authentication to access '${application}'.`,
  },
  'secret-expired': {
    code: 7000222,
    subjects: ['client'],
    silentError: 'invalid_client',
    sentence: (_person, application) =>
      `The provided client secret keys for app '${application}' are expired. Create new keys for the app.`,
  },
  'redirect-uri-unknown': {
    code: 50011,
    subjects: ['client'],
    silentError: 'invalid_request',
    sentence: (_person, application) =>
      `The redirect URI of the request does not match the redirect URIs configured for the application '${application}'.`,
  },
} as const satisfies Record<string, RefusalKind>

export type Refusal = keyof typeof refusalKinds

/** Which personas and clients are refused, and how. */
export interface RefusalBoard {
  /** The refusal of a persona or client by its name; undefined when it is welcome. */
  get(subject: string): Refusal | undefined
  /** Sets or, with undefined, ends the refusal of a subject. */
  set(subject: string, refusal: Refusal | undefined): void
  /** Everybody is as at the start again. */
  clear(): void
}

/** Creates the board; `initial` are the refusals that personas are made for. */
export function createRefusalBoard(initial: ReadonlyMap<string, Refusal>): RefusalBoard {
  const refusals = new Map<string, Refusal | undefined>(initial)
  return {
    get: (subject) => refusals.get(subject),
    set: (subject, refusal) => void refusals.set(subject, refusal),
    clear() {
      refusals.clear()
      for (const [subject, refusal] of initial) refusals.set(subject, refusal)
    },
  }
}

/** The error of a refusal; `error` is the OAuth error, default: the one without a page. */
export function refuse(
  refusal: Refusal,
  person: string,
  application: string,
  error: string = refusalKinds[refusal].silentError,
): EntraError {
  const { code, sentence } = refusalKinds[refusal]
  return new EntraError(
    error === 'invalid_client' ? 401 : 400,
    error,
    code,
    sentence(person, application),
  )
}
