import { constants, createHmac, type KeyObject, sign } from 'node:crypto'
import { tenantKey } from './authority.ts'
import { appIdUri, ids, startSeconds } from './ids.ts'
import type { SigningKey } from './signing-keys.ts'

export type Members = Readonly<Record<string, unknown>>

/** How a token differs from one that Entra would issue. A member that is undefined is left out. */
export interface TokenOptions {
  readonly header?: Members
  readonly key?: SigningKey
  readonly tenant?: string
}

/** Entra dates tokens five minutes back; a user's token lasts 60 to 90 minutes. */
const issuedAt = startSeconds - 300
const times = { iat: issuedAt, nbf: issuedAt, exp: issuedAt + 4500 }
const pairwiseSubject = 'Zr7Q0Fv1SgfV5cWcJZ2yVxq8yB8oQ3o1uTLbDqPq0kA'
const opaque = {
  rh: '1.AQEAEREREREREUGBERERERERETAAAACgAABAgAAAAAAAAACHAQA.',
  aio: 'AXQAi/8TAAAAm1lQY3S6fT9d8uCUgQn0vYd6qkR0mDq3vCjVfQ8kZl7aBxQ=',
}

/** A v2.0 access token of a user, claim for claim as Entra issues it. */
export function v2User(claims: Members = {}, options: TokenOptions = {}): string {
  const tenant = options.tenant ?? ids.contoso
  return issue(options, {
    aud: ids.api,
    iss: `https://login.microsoftonline.com/${tenant}/v2.0`,
    ...times,
    acct: 0,
    ...opaque,
    azp: ids.client,
    azpacr: '1',
    name: 'Adele Vance',
    oid: ids.user,
    preferred_username: 'adele@contoso.example',
    scp: 'Orders.Read',
    sid: '00000000-0000-4000-8000-0000000000dd',
    sub: pairwiseSubject,
    tid: tenant,
    uti: 'uti-of-a-user-token-v2',
    ver: '2.0',
    ...claims,
  })
}

/** A v1.0 access token of a user; its audience is the App ID URI. */
export function v1User(claims: Members = {}, options: TokenOptions = {}): string {
  const tenant = options.tenant ?? ids.contoso
  return issue(
    options,
    {
      aud: appIdUri,
      iss: `https://sts.windows.net/${tenant}/`,
      ...times,
      acct: 0,
      acr: '1',
      ...opaque,
      amr: ['pwd', 'mfa'],
      appid: ids.client,
      appidacr: '1',
      family_name: 'Vance',
      given_name: 'Adele',
      ipaddr: '192.0.2.10',
      name: 'Adele Vance',
      oid: ids.user,
      scp: 'Orders.Read',
      sub: pairwiseSubject,
      tid: tenant,
      unique_name: 'adele@contoso.example',
      upn: 'adele@contoso.example',
      uti: 'uti-of-a-user-token-v1',
      ver: '1.0',
      ...claims,
    },
    '1.0',
  )
}

/** A v2.0 app-only token of an API that asked for `idtyp`. */
export function v2App(claims: Members = {}, options: TokenOptions = {}): string {
  const tenant = options.tenant ?? ids.contoso
  return issue(options, {
    aud: ids.api,
    iss: `https://login.microsoftonline.com/${tenant}/v2.0`,
    ...times,
    ...opaque,
    azp: ids.client,
    azpacr: '2',
    idtyp: 'app',
    oid: ids.app,
    roles: ['Orders.Process'],
    sub: ids.app,
    tid: tenant,
    uti: 'uti-of-an-app-token-v2',
    ver: '2.0',
    ...claims,
  })
}

/** A v1.0 token of a managed identity: a day and five minutes long, and without `idtyp`. */
export function managedIdentity(claims: Members = {}, options: TokenOptions = {}): string {
  const tenant = options.tenant ?? ids.contoso
  return issue(
    options,
    {
      aud: appIdUri,
      iss: `https://sts.windows.net/${tenant}/`,
      iat: issuedAt,
      nbf: issuedAt,
      exp: issuedAt + 86_700,
      aio: opaque.aio,
      appid: ids.client,
      appidacr: '2',
      idp: `https://sts.windows.net/${tenant}/`,
      oid: ids.app,
      rh: opaque.rh,
      roles: ['Orders.Process'],
      sub: ids.app,
      tid: tenant,
      uti: 'uti-of-a-managed-identity',
      ver: '1.0',
      ...claims,
    },
    '1.0',
  )
}

/** A v2.0 token of an agent identity that acts on behalf of a user. */
export function v2Agent(claims: Members = {}, options: TokenOptions = {}): string {
  return v2User(
    { azpacr: '2', idtyp: 'user', uti: 'uti-of-an-agent-token', xms_act_fct: '3 9 11', ...claims },
    options,
  )
}

/** A v2.0 token of an agent identity that acts for itself. */
export function v2AutonomousAgent(claims: Members = {}, options: TokenOptions = {}): string {
  return v2App(
    {
      scp: '/',
      uti: 'uti-of-an-autonomous-agent',
      xms_act_fct: '3 9 11',
      xms_sub_fct: '3 9 11',
      ...claims,
    },
    options,
  )
}

/** A v2.0 ID token of the same registration. */
export function v2IdToken(claims: Members = {}, options: TokenOptions = {}): string {
  return v2User(
    {
      acct: undefined,
      azp: undefined,
      azpacr: undefined,
      nonce: 'n-0S6_WzA2Mj',
      scp: undefined,
      ...claims,
    },
    options,
  )
}

/** Header and claims of a token, for tests that alter one. */
export function readToken(token: string): { header: Members; claims: Members } {
  const [header = '', claims = ''] = token.split('.')
  return { header: decode(header), claims: decode(claims) }
}

/** Signs a header and claims; a member that is undefined is left out. */
export function signToken(header: Members, claims: Members, key: SigningKey): string {
  return signTexts(JSON.stringify(header), JSON.stringify(claims), key)
}

/** Signs two texts that need not be JSON. */
export function signTexts(
  header: string | Buffer,
  claims: string | Buffer,
  key: SigningKey,
): string {
  return signSegments(base64url(header), base64url(claims), key)
}

/** Signs two segments that need not be base64url. */
export function signSegments(header: string, claims: string, key: SigningKey): string {
  const input = `${header}.${claims}`
  return `${input}.${sign('sha256', Buffer.from(input), key.privateKey).toString('base64url')}`
}

/** Signs with another algorithm than RS256. */
export function signWith(
  alg: string,
  header: Members,
  claims: Members,
  key: KeyObject | string,
): string {
  const input = `${base64url(JSON.stringify({ ...header, alg }))}.${base64url(JSON.stringify(claims))}`
  return `${input}.${signatureOf(alg, input, key).toString('base64url')}`
}

export function base64url(text: string | Buffer): string {
  return Buffer.from(text).toString('base64url')
}

function issue(options: TokenOptions, claims: Members, version: '1.0' | '2.0' = '2.0'): string {
  const key = options.key ?? tenantKey(options.tenant ?? ids.contoso)
  const x5t = version === '1.0' ? { x5t: key.id } : {}
  return signToken(
    { typ: 'JWT', alg: 'RS256', ...x5t, kid: key.id, ...options.header },
    claims,
    key,
  )
}

function signatureOf(alg: string, input: string, key: KeyObject | string): Buffer {
  const data = Buffer.from(input)
  const bits = `sha${alg.slice(2)}`
  if (alg.startsWith('HS')) return createHmac(bits, key).update(data).digest()
  if (alg.startsWith('PS')) {
    return sign(bits, data, {
      key: key as KeyObject,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    })
  }
  if (alg.startsWith('ES')) {
    return sign(bits, data, { key: key as KeyObject, dsaEncoding: 'ieee-p1363' })
  }
  return sign(bits, data, key as KeyObject)
}

function decode(segment: string): Members {
  return JSON.parse(Buffer.from(segment, 'base64url').toString('utf8'))
}
