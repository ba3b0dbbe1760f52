import {
  constants,
  createHash,
  createHmac,
  generateKeyPair,
  type KeyObject,
  sign,
} from 'node:crypto'
import { promisify } from 'node:util'
import { LRUCache } from 'lru-cache'
import { createCertificate } from './certificate.ts'

/** A key as Entra's key endpoints show it: no `alg`, named by its certificate. */
export interface PublishedKey {
  readonly kty: 'RSA'
  readonly use: 'sig'
  readonly kid: string
  readonly x5t: string
  readonly n: string
  readonly e: string
  readonly x5c: readonly string[]
}

/** A private key together with what is published of it. */
export interface SigningKey {
  readonly kid: string
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  readonly published: PublishedKey
}

/** `app:` and a client id in lower case means that application's own key. */
export type KeyChoice = 'current' | 'previous' | 'unpublished' | `app:${string}`

/** Source of randomness: returns that many random bytes. */
export type Random = (bytes: number) => Buffer

/** The keys of one dev-entra, shared by all its tenants as Entra's are. */
export interface Keyring {
  /** Resolves once there are two published keys. */
  prepare(): Promise<void>
  /** The key that signs for this choice. */
  choose(choice: KeyChoice): Promise<SigningKey>
  /** What the key endpoint lists: the ordinary keys, after the application's own where one is named. */
  list(appId?: string): Promise<readonly SigningKey[]>
  /** Keys that nothing is signed with, under the names of the ordinary ones. */
  listImpostors(): Promise<readonly PublishedKey[]>
  /** A new key signs from now on; the old ones stay published. */
  rotate(): Promise<void>
  /** Only the current key stays published. */
  withdraw(): void
}

const generateRsaPair = promisify(generateKeyPair)
const maxApplicationKeys = 100
const maxPublishedKeys = 8
const yearMs = 365 * 24 * 3600 * 1000

async function createSigningKey(now: () => number, random: Random): Promise<SigningKey> {
  const { publicKey, privateKey } = await generateRsaPair('rsa', { modulusLength: 2048 })
  const certificate = createCertificate({
    commonName: 'dev-entra, not Microsoft Entra ID',
    serial: random(8),
    notBeforeMs: now(),
    notAfterMs: now() + 5 * yearMs,
    publicKey,
    privateKey,
  })
  const kid = createHash('sha1').update(certificate).digest('base64url')
  const { n = '', e = '' } = publicKey.export({ format: 'jwk' })
  const x5c = [certificate.toString('base64')]
  return {
    kid,
    privateKey,
    publicKey,
    published: { kty: 'RSA', use: 'sig', kid, x5t: kid, n, e, x5c },
  }
}

/** Creates the keyring; keys are made by `prepare` and on demand, at about 100 ms each. */
export function createKeyring(now: () => number, random: Random): Keyring {
  const create = () => createSigningKey(now, random)
  let current: SigningKey
  let previous: SigningKey
  let published: SigningKey[] = []
  let prepared: Promise<void> | undefined
  let unpublished: Promise<SigningKey> | undefined
  let impostor: Promise<SigningKey> | undefined
  const ofApplication = new LRUCache<string, Promise<SigningKey>>({ max: maxApplicationKeys })

  const prepare = () => {
    prepared ??= Promise.all([create(), create()]).then(([first, second]) => {
      previous = first
      current = second
      published = [current, previous]
    })
    return prepared
  }

  const keyOfApplication = (appId: string) => {
    const known = ofApplication.get(appId) ?? create()
    ofApplication.set(appId, known)
    return known
  }

  return {
    prepare,
    async choose(choice) {
      await prepare()
      if (choice === 'current') return current
      if (choice === 'previous') return previous
      if (choice === 'unpublished') {
        unpublished ??= create()
        return unpublished
      }
      return keyOfApplication(choice.slice('app:'.length))
    },
    async list(appId) {
      await prepare()
      return appId === undefined ? published : [await keyOfApplication(appId), ...published]
    },
    async listImpostors() {
      await prepare()
      impostor ??= create()
      const { n, e, x5c } = (await impostor).published
      return published.map((key) => ({ ...key.published, n, e, x5c }))
    },
    async rotate() {
      await prepare()
      const next = await create()
      previous = current
      current = next
      published = [next, ...published].slice(0, maxPublishedKeys)
    },
    withdraw() {
      published = published.filter((key) => key === current)
    },
  }
}

function computeSignature(algorithm: string, input: Buffer, key: SigningKey): Buffer {
  if (algorithm.toLowerCase() === 'none') return Buffer.alloc(0)
  const [, family, bits] = /^([RPH]S)(256|384|512)$/.exec(algorithm) ?? [undefined, 'RS', '256']
  const hash = `sha${bits}`
  if (family === 'HS') {
    // The classic confusion attack: a MAC keyed with the text of the public key.
    const secret = key.publicKey.export({ type: 'spki', format: 'pem' })
    return createHmac(hash, secret).update(input).digest()
  }
  if (family === 'RS') return sign(hash, input, key.privateKey)
  return sign(hash, input, {
    key: key.privateKey,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  })
}

function readAlgorithm(header: string): string {
  try {
    return String(JSON.parse(header)?.alg)
  } catch {
    return 'RS256'
  }
}

/**
 * Signs a compact JWS (RFC 7515) over exactly these JSON texts, by the algorithm that the header
 * names: RS256, and for hostile tokens RS384/512, PS*, HS* keyed with the public key, and none;
 * any other algorithm gets an RS256 signature.
 */
export function signToken(header: string, payload: string, key: SigningKey): string {
  const input = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`
  const signature = computeSignature(readAlgorithm(header), Buffer.from(input), key)
  return `${input}.${signature.toString('base64url')}`
}
