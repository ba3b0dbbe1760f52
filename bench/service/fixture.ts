/** Keys, tokens and an authority for the benchmarks; kept between runs, since signing is slow. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
  sign,
} from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'

export const benchTenant = '11111111-1111-4111-8111-111111111111'
const directory = join(import.meta.dirname, '../../.cache/bench')
export const keyFile = join(directory, 'key.json')
const issuer = 'http://127.0.0.1:1'

/** File with `count` tokens, one a line; made when it is missing, short or older than half a day. */
export function ensureTokens(count: number): string {
  const file = join(directory, 'tokens.txt')
  const now = Math.floor(Date.now() / 1000)
  if (existsSync(file) && existsSync(keyFile)) {
    const { madeAt, tokens } = JSON.parse(readFileSync(keyFile, 'utf8'))
    if (tokens >= count && now - madeAt < 12 * 3600) return file
  }
  mkdirSync(directory, { recursive: true })
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const key = createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const lines: string[] = []
  for (let i = 0; i < count; i++) lines.push(signToken(userClaims(now), key))
  writeFileSync(file, `${lines.join('\n')}\n`)
  const publicJwk = publicKey.export({ format: 'jwk' })
  writeFileSync(keyFile, JSON.stringify({ madeAt: now, tokens: count, publicJwk }))
  return file
}

/** The public key of the tokens as PEM. */
export function publicKeyPem(): string {
  const { publicJwk } = JSON.parse(readFileSync(keyFile, 'utf8'))
  const key = createPublicKey({ key: publicJwk, format: 'jwk' })
  return key.export({ type: 'spki', format: 'pem' }).toString()
}

/** Serves metadata and the key of the tokens; returns its base URL. */
export async function startAuthority(): Promise<string> {
  const { publicJwk } = JSON.parse(readFileSync(keyFile, 'utf8'))
  const server = createServer((request, response) => {
    const url = request.url ?? ''
    const origin = `http://${request.headers.host}`
    const version = url.includes('/v2.0') ? '/v2.0' : '/'
    const document = url.includes('openid-configuration')
      ? { issuer: `${issuer}/${benchTenant}${version}`, jwks_uri: `${origin}/keys` }
      : { keys: [{ ...publicJwk, kid: 'bench', use: 'sig' }] }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(document))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  server.unref()
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function userClaims(now: number): object {
  return {
    aud: 'api://orders',
    iss: `${issuer}/${benchTenant}/v2.0`,
    iat: now - 300,
    nbf: now - 300,
    exp: now + 23 * 3600,
    azp: '55555555-5555-4555-8555-555555555555',
    azpacr: '0',
    name: 'Bench User',
    oid: randomUUID(),
    preferred_username: 'bench@contoso.example',
    rh: '0.AXoAERERERERERERERERERERETMzMzMzMzMzMzMzMzMzMzM',
    scp: 'Orders.Read Orders.Write',
    sub: 'xcC3cC3cC3cC3cC3cC3cC3cC3cC3cC3cC3cC3cC3cC0',
    tid: benchTenant,
    uti: randomUUID().replaceAll('-', ''),
    ver: '2.0',
  }
}

function signToken(claims: object, key: ReturnType<typeof createPrivateKey>): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${encode({ typ: 'JWT', alg: 'RS256', kid: 'bench' })}.${encode(claims)}`
  return `${input}.${sign('RSA-SHA256', Buffer.from(input), key).toString('base64url')}`
}
