/** Really signed tokens, kept between runs since signing is slow, and the authority that vouches for them. */
import { createPublicKey, generateKeyPair, type JsonWebKey, randomUUID, sign } from 'node:crypto'
import { createWriteStream, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { promisify } from 'node:util'

/** Enough for the mixed load, and for the misses of the service. */
export const liveTokens = 100_000

/** Tenant of every token. */
export const benchTenant = '11111111-1111-4111-8111-111111111111'
/** Audience of every token. */
export const benchAudience = 'api://orders'
/** The `iss` of every token; nothing answers there, metadata comes from the authority below. */
export const benchIssuer = `http://127.0.0.1:1/${benchTenant}/v2.0`

const directory = join(import.meta.dirname, '../.cache/bench')
const keyFile = join(directory, 'key.json')
/** Far below the 23 hours that a token lasts, so that none expires in a run. */
const keepSeconds = 12 * 3600
const batch = 500

/** The tokens of a run. */
export interface Tokens {
  /** One token a line, each of another user. */
  readonly file: string
  readonly count: number
  readonly first: string
  readonly publicJwk: JsonWebKey
  readonly publicKeyPem: string
}

/**
 * Makes `count` tokens on all cores, unless enough of an earlier run are young enough: a signature
 * takes half a millisecond and more.
 */
export async function ensureTokens(count: number): Promise<Tokens> {
  const file = join(directory, 'tokens.txt')
  if (!isUsable(file, count)) await makeTokens(file, count)
  const made = JSON.parse(readFileSync(keyFile, 'utf8'))
  const publicKey = createPublicKey({ key: made.publicJwk, format: 'jwk' })
  return {
    file,
    count: made.count,
    first: made.first,
    publicJwk: made.publicJwk,
    publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  }
}

function isUsable(file: string, count: number): boolean {
  if (!existsSync(file) || !existsSync(keyFile)) return false
  const made = JSON.parse(readFileSync(keyFile, 'utf8'))
  return made.count >= count && nowSeconds() - made.madeAt < keepSeconds
}

async function makeTokens(file: string, count: number): Promise<void> {
  mkdirSync(directory, { recursive: true })
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  const signInput = promisify(sign)
  const madeAt = nowSeconds()
  const signToken = async () => {
    const input = `${encode({ typ: 'JWT', alg: 'RS256', kid: 'bench' })}.${encode(claims(madeAt))}`
    const signature = await signInput('RSA-SHA256', Buffer.from(input), privateKey)
    return `${input}.${signature.toString('base64url')}\n`
  }
  const first = await signToken()
  const output = createWriteStream(file)
  output.write(first)
  for (let done = 1; done < count; done += batch) {
    if (done % 20_000 === 1) console.error(`signing tokens: ${done - 1} of ${count}`)
    const size = Math.min(batch, count - done)
    output.write((await Promise.all(Array.from({ length: size }, signToken))).join(''))
  }
  output.end()
  await finished(output)
  const publicJwk = publicKey.export({ format: 'jwk' })
  // Written last: an interrupted run leaves no key behind and starts anew.
  writeFileSync(keyFile, JSON.stringify({ madeAt, count, first: first.trim(), publicJwk }))
}

/** A user token of about the size that Entra issues without group claims. */
function claims(now: number): object {
  const oid = randomUUID()
  return {
    aud: benchAudience,
    iss: benchIssuer,
    iat: now - 300,
    nbf: now - 300,
    exp: now + 23 * 3600,
    azp: '55555555-5555-4555-8555-555555555555',
    azpacr: '0',
    name: 'Bench User',
    oid,
    preferred_username: `${oid.slice(0, 8)}@contoso.example`,
    rh: '0.AXoAERERERERERERERERERERETMzMzMzMzMzMzMzMzMzMzM',
    roles: ['Orders.Read'],
    scp: 'Orders.Read Orders.Write',
    sub: Buffer.from(oid).toString('base64url').slice(0, 43),
    tid: benchTenant,
    uti: oid.replaceAll('-', '').slice(0, 22),
    ver: '2.0',
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000)
}

/** Serves metadata and the public key on loopback for as long as this process lives. */
export async function startAuthority({ publicJwk }: Tokens): Promise<string> {
  const server = createServer((request, response) => {
    const url = request.url ?? ''
    const issuer = url.includes('/v2.0') ? benchIssuer : benchIssuer.replace('v2.0', '')
    const document = url.includes('openid-configuration')
      ? { issuer, jwks_uri: `http://${request.headers.host}/keys` }
      : { keys: [{ ...publicJwk, kid: 'bench', use: 'sig', alg: 'RS256' }] }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(document))
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  server.unref()
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
