import {
  constants,
  createHash,
  createPrivateKey,
  type KeyObject,
  sign,
  X509Certificate,
} from 'node:crypto'
import { CredentialError } from './credential-error.ts'

/** Time and chance of an assertion. */
export interface AssertionRuntime {
  /** Now, in ms since the epoch. */
  readonly clock: () => number
  readonly randomId: () => string
}

/** Whom an assertion is for. */
export interface AssertionSubject {
  readonly clientId: string
  /** The token endpoint: that is what Entra wants, where RFC 7523 would also take the issuer. */
  readonly audience: string
  readonly certificate: Pick<X509Certificate, 'raw'>
}

/** Returns the PS256 signature of a text. */
export type Sign = (input: string) => Promise<Buffer>

/** An assertion is used at once; the rest allows for clocks that differ. */
const lifetimeSeconds = 5 * 60

/**
 * Creates a client assertion (RFC 7523 section 2.2) as Entra wants it: PS256, and the certificate named
 * by its SHA-256 thumbprint ("Microsoft identity platform application authentication certificate
 * credentials").
 */
export async function createAssertion(
  { clientId, audience, certificate }: AssertionSubject,
  signInput: Sign,
  { clock, randomId }: AssertionRuntime,
): Promise<string> {
  const nowSeconds = Math.floor(clock() / 1000)
  const header = { alg: 'PS256', typ: 'JWT', 'x5t#S256': thumbprintOf(certificate) }
  const payload = {
    iss: clientId,
    sub: clientId,
    aud: audience,
    jti: randomId(),
    iat: nowSeconds,
    nbf: nowSeconds,
    exp: nowSeconds + lifetimeSeconds,
  }
  const input = `${encode(header)}.${encode(payload)}`
  return `${input}.${(await signInput(input)).toString('base64url')}`
}

/** Reads the first certificate of a PEM text. */
export function readCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch {
    throw new CredentialError('certificateFile holds no certificate (PEM)')
  }
}

/** A private key that signs assertions. */
export interface SigningKey {
  sign(input: string): Buffer
}

/** Reads the private key of a certificate; RSA, since Entra takes PS256 and RS256 only. */
export function readPrivateKey(pem: string, certificate: X509Certificate): SigningKey {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch {
    throw new CredentialError('keyFile holds no private key (PEM, without a passphrase)')
  }
  if (key.asymmetricKeyType !== 'rsa')
    throw new CredentialError('the private key is not an RSA key')
  if (!certificate.checkPrivateKey(key)) {
    throw new CredentialError('the private key is not the one of the certificate')
  }
  const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_DIGEST: saltLength } = constants
  return { sign: (input) => sign('sha256', Buffer.from(input), { key, padding, saltLength }) }
}

function thumbprintOf(certificate: Pick<X509Certificate, 'raw'>): string {
  return createHash('sha256').update(certificate.raw).digest('base64url')
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
