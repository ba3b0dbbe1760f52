import type { Config, PolicyConfig, SignInConfig } from '../config/config.ts'
import { signInUrisOf } from '../config/redirect-uris.ts'
import { canRevoke } from '../config/store.ts'
import { type Finding, finding } from './finding.ts'
import { isObject, objectsOf, type Registration } from './registration.ts'

/** A certificate or secret with less time left should be renewed, in ms. */
const renewalMs = 30 * 24 * 3_600_000

/**
 * Compares the registration of the web application that people sign in to with `signIn`: redirect URIs, the
 * logout URL, claims of ID tokens, and the end of certificates and secrets. Another registration has none.
 */
export function checkSignInRegistration(
  app: Registration,
  config: Config,
  nowMs: number,
): Finding[] {
  const { signIn } = config
  if (signIn === undefined || signIn.clientId !== app.appId) return []
  const parts: readonly (readonly [path: string, check: () => Finding[]])[] = [
    ['web.redirectUris', () => checkRedirectUris(app, signIn)],
    ['web.logoutUrl', () => checkLogoutUrl(app, signIn, config)],
    ['optionalClaims', () => checkClaims(app, config)],
    ...credentialParts(signIn).map(
      (path) => [path, () => checkCredentials(app, path, nowMs)] as const,
    ),
  ]
  const missing = parts.map(([path]) => path).filter((path) => memberAt(app, path) === undefined)
  return [
    // The other checks say so of the claims.
    ...checkPartial(
      app,
      missing.filter((path) => path !== 'optionalClaims'),
    ),
    ...parts.filter(([path]) => !missing.includes(path)).flatMap(([, check]) => check()),
  ]
}

const placeOf = ({ appId }: Registration) => ({ app: appId })

function memberAt({ raw }: Registration, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>((whole, name) => (isObject(whole) ? whole[name] : undefined), raw)
}

function checkPartial(app: Registration, missing: readonly string[]): Finding[] {
  if (missing.length === 0) return []
  return [
    finding(
      'registration-partial',
      placeOf(app),
      `does not hold ${missing.join(', ')}, so that was not compared with the sign-in`,
      `Print all of it, without --query or $select: az ad app show --id ${app.appId}.`,
    ),
  ]
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

function checkRedirectUris(app: Registration, signIn: SignInConfig): Finding[] {
  const registered = new Set(textsOf(memberAt(app, 'web.redirectUris')).map(withoutLocalPort))
  const lacks = (uris: readonly string[]) =>
    uris.filter((uri) => !registered.has(withoutLocalPort(uri)))
  const { callbacks, signedOut } = signInUrisOf(signIn)
  return [
    ...lacks(callbacks).map((uri) =>
      finding(
        'redirect-uri-missing',
        placeOf(app),
        `lacks the redirect URI ${uri}, so nobody can sign in at that host`,
        'Add it under Authentication > Web, letter by letter.',
      ),
    ),
    ...lacks(signedOut).map((uri) =>
      finding(
        'signed-out-uri-missing',
        placeOf(app),
        `lacks the redirect URI ${uri}, so a sign-out ends on a page of Entra's`,
        'Add it under Authentication > Web, letter by letter.',
      ),
    ),
  ]
}

/** Entra does not compare the port of a redirect URI at localhost (RFC 8252 section 7.3). */
function withoutLocalPort(uri: string): string {
  return uri.replace(/^(http:\/\/(?:localhost|127\.0\.0\.1)):\d+\//, '$1/')
}

function checkLogoutUrl(app: Registration, signIn: SignInConfig, config: Config): Finding[] {
  const { frontchannelLogout } = signInUrisOf(signIn)
  const registered = memberAt(app, 'web.logoutUrl')
  // Without a place for revocations there is no route for it.
  if (!canRevoke(config) || frontchannelLogout.some((url) => url === registered)) return []
  return [
    finding(
      'logout-url-missing',
      placeOf(app),
      'has no front-channel logout URL of these hosts, so sessions here go on when somebody signs out elsewhere',
      `Set it under Authentication: ${frontchannelLogout[0]}`,
    ),
  ]
}

function checkClaims(app: Registration, config: Config): Finding[] {
  const claims = memberAt(app, 'optionalClaims')
  const known = objectsOf(isObject(claims) ? claims.idToken : undefined).map(({ name }) => name)
  const wanted = [
    // Without it Entra asks at each sign-out which account is meant.
    'login_hint',
    ...(canRevoke(config) ? ['sid'] : []),
    ...(config.policies.some(asksForGuests) ? ['acct'] : []),
  ]
  const lacking = wanted.filter((name) => !known.includes(name))
  if (lacking.length === 0) return []
  return [
    finding(
      'id-token-claims-missing',
      placeOf(app),
      `puts no ${lacking.join(' and no ')} into ID tokens${
        lacking.includes('acct') ? ', so everybody counts as a guest' : ''
      }`,
      `Add ${lacking.join(', ')} under Token configuration as optional claims of ID tokens.`,
    ),
  ]
}

/** Whether a policy with sessions has a condition on guests. */
function asksForGuests({ allow, deny }: PolicyConfig): boolean {
  const ofSessions = allow.filter(({ session }) => session)
  return (
    ofSessions.length > 0 &&
    (ofSessions.some(({ guests }) => guests === false) || deny.some(({ guests }) => guests))
  )
}

/** Where a registration holds what the credential is compared with; federated ones are elsewhere. */
function credentialParts({ credential }: SignInConfig): readonly string[] {
  switch (credential.kind) {
    case 'certificateFile':
    case 'keyVaultKey':
      return ['keyCredentials']
    case 'clientSecretFile':
      return ['passwordCredentials']
    default:
      return []
  }
}

function checkCredentials(app: Registration, path: string, nowMs: number): Finding[] {
  const kind = path === 'keyCredentials' ? 'certificate' : 'secret'
  const hint = 'Add a new one under Certificates & secrets before the old one ends.'
  const ends = objectsOf(memberAt(app, path))
    .map(({ endDateTime }) => Date.parse(String(endDateTime)))
    .filter((endMs) => endMs > nowMs)
  const lastMs = Math.max(...ends)
  if (ends.length === 0) {
    const message = `has no ${kind} that is valid, so nobody can sign in`
    return [finding('credential-missing', placeOf(app), message, hint)]
  }
  if (lastMs - nowMs > renewalMs) return []
  const message = `has no ${kind} that is valid after ${new Date(lastMs).toISOString()}`
  return [finding('credential-expiring', placeOf(app), message, hint)]
}
