import { constants, type KeyObject, verify } from 'node:crypto'
import type { DevEntraContext } from './context.ts'
import { type ClientRegistration, tokenExchange } from './directory.ts'
import { EntraError } from './entra-error.ts'
import type { Parameters } from './parameters.ts'
import { refuse } from './refusals.ts'

/** How a client proved itself, as `azpacr` says it: 0 not at all, 1 secret, 2 certificate or federation. */
export type ClientProof = '0' | '1' | '2'

interface Assertion {
  readonly header: Readonly<Record<string, unknown>>
  readonly claims: Readonly<Record<string, unknown>>
  readonly input: string
  readonly signature: Buffer
}

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const skewSeconds = 300

/**
 * Checks the secret or the assertion of a client at the token endpoint; throws AADSTS errors.
 * https://learn.microsoft.com/entra/identity-platform/certificate-credentials
 */
export async function authenticateClient(
  client: ClientRegistration,
  parameters: Parameters,
  basicSecret: string | undefined,
  segment: string,
  context: DevEntraContext,
): Promise<ClientProof> {
  const secret = basicSecret ?? parameters.get('client_secret')
  if (secret !== undefined) {
    checkSecret(client, secret, context)
    return '1'
  }
  const text = parameters.get('client_assertion')
  if (text === undefined) return '0'
  if (parameters.require('client_assertion_type') !== assertionType) {
    throw refuseAssertion(900144, 'The client_assertion_type is not the one of RFC 7523.')
  }
  const assertion = readAssertion(text)
  await checkAssertion(assertion, client, segment, context)
  return '2'
}

function checkSecret(
  client: ClientRegistration,
  secret: string,
  { refusals }: DevEntraContext,
): void {
  if (secret !== client.secret) {
    throw new EntraError(
      401,
      'invalid_client',
      7000215,
      `Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '${client.appId}'.`,
    )
  }
  if (refusals.get(client.name) === 'secret-expired') {
    throw refuse('secret-expired', client.name, client.appId)
  }
}

function readAssertion(text: string): Assertion {
  const [header = '', payload = '', signature = '', ...rest] = text.split('.')
  try {
    if (rest.length > 0) throw new Error('more than three parts')
    return {
      header: readObject(header),
      claims: readObject(payload),
      input: `${header}.${payload}`,
      signature: Buffer.from(signature, 'base64url'),
    }
  } catch {
    throw refuseAssertion(50027, 'JWT token is invalid or malformed.')
  }
}

function readObject(part: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
  if (typeof value !== 'object' || value === null) throw new Error('not an object')
  return { ...value }
}

async function checkAssertion(
  assertion: Assertion,
  client: ClientRegistration,
  segment: string,
  context: DevEntraContext,
): Promise<void> {
  const { header, claims } = assertion
  if (header['x5t#S256'] === undefined && header.x5t === undefined) {
    return checkFederated(assertion, client, context)
  }
  // Entra's own tokens of version 1.0 carry x5t as well.
  if (claims.iss !== client.appId && isOwnIssuer(claims.iss, context)) {
    return checkFederated(assertion, client, context)
  }
  const thumbprint = String(header['x5t#S256'] ?? header.x5t)
  const key = context.registrations.certificateKey(client, thumbprint)
  if (!key || !isSignedBy(assertion, key)) {
    const reason = key ? 'The signature is not valid.' : 'The key was not found.'
    throw refuseAssertion(
      700027,
      `The certificate with identifier used to sign the client assertion is not registered on application. [Reason - ${reason} Thumbprint: '${thumbprint}']`,
    )
  }
  if (claims.iss !== client.appId || claims.sub !== client.appId) {
    throw refuseAssertion(
      700021,
      "Client assertion application identifier doesn't match 'client_id' parameter.",
    )
  }
  const base = `${context.origin()}/${segment}`
  const audiences = [`${base}/oauth2/v2.0/token`, `${base}/oauth2/token`, `${base}/v2.0`]
  if (typeof claims.aud !== 'string' || !audiences.includes(claims.aud)) {
    throw refuseAssertion(
      700023,
      `Client assertion audience claim does not match Realm issuer: '${audiences[0]}' is the audience.`,
    )
  }
  checkTimes(assertion, context)
}

async function checkFederated(
  assertion: Assertion,
  client: ClientRegistration,
  context: DevEntraContext,
): Promise<void> {
  const { claims, header } = assertion
  const ofIssuer = (client.federated ?? []).filter(
    ({ issuerPath }) => claims.iss === `${context.origin()}${issuerPath}`,
  )
  if (ofIssuer.length === 0) {
    throw refuseAssertion(
      700211,
      `No matching federated identity record found for presented assertion issuer '${claims.iss}'.`,
    )
  }
  const key = (await context.keyring.list()).find(({ kid }) => kid === header.kid)
  if (!key || !isSignedBy(assertion, key.publicKey)) {
    throw refuseAssertion(7000272, 'The signature of the federated token is not valid.')
  }
  if (!ofIssuer.some(({ subject }) => subject === claims.sub)) {
    throw refuseAssertion(
      700213,
      `No matching federated identity record found for presented assertion subject '${claims.sub}'.`,
    )
  }
  const audiences: unknown[] = [claims.aud].flat()
  if (
    !audiences.some((audience) =>
      [tokenExchange.uri, tokenExchange.appId].includes(audience as never),
    )
  ) {
    throw refuseAssertion(
      700212,
      `No matching federated identity record found for presented assertion audience '${claims.aud}'.`,
    )
  }
  checkTimes(assertion, context)
}

function isOwnIssuer(issuer: unknown, { origin }: DevEntraContext): boolean {
  return typeof issuer === 'string' && issuer.startsWith(`${origin()}/`)
}

function checkTimes({ claims: { exp, nbf } }: Assertion, { now }: DevEntraContext): void {
  const nowSeconds = now() / 1000
  const begun = nbf === undefined || (typeof nbf === 'number' && nbf <= nowSeconds + skewSeconds)
  if (begun && typeof exp === 'number' && exp > nowSeconds - skewSeconds) return
  throw refuseAssertion(
    700024,
    `Client assertion is not within its valid time range. Current time: ${new Date(nowSeconds * 1000).toISOString()}.`,
  )
}

function isSignedBy({ header, input, signature }: Assertion, key: KeyObject): boolean {
  if (header.alg === 'RS256') return verify('sha256', Buffer.from(input), key, signature)
  if (header.alg !== 'PS256') return false
  return verify(
    'sha256',
    Buffer.from(input),
    {
      key,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    },
    signature,
  )
}

function refuseAssertion(code: number, sentence: string): EntraError {
  return new EntraError(401, 'invalid_client', code, sentence)
}
