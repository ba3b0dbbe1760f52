import {
  constants,
  createHash,
  generateKeyPair,
  type KeyObject,
  privateEncrypt,
  verify,
} from 'node:crypto'
import { promisify } from 'node:util'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { createCertificate } from './certificate.ts'
import type { DevEntraContext } from './context.ts'
import { clients, vaultApi } from './directory.ts'
import type { Random } from './keys.ts'
import { signPssDigest } from './pss.ts'

type Route = { Params: { name: string; version?: string } }

interface VaultKey {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  readonly certificate: Buffer
  readonly version: string
}

const yearMs = 365 * 24 * 3600 * 1000

/**
 * Adds a key vault with one certificate, `portal`, whose key signs for the client portal and never
 * leaves: `GET /certificates/portal`, `GET /keys/portal` and `POST /keys/portal/VERSION/sign`.
 * https://learn.microsoft.com/rest/api/keyvault/keys/sign/sign
 */
export function addKeyVault(app: FastifyInstance, context: DevEntraContext, random: Random): void {
  const { origin } = context
  // Made when it is first asked for: nothing can be signed with it before.
  let made: Promise<VaultKey> | undefined
  const prepare = () => {
    made ??= createVaultKey(context.now, random).then((key) => {
      const certificate = toPem(key.certificate)
      context.registrations.change(clients.portal, { certificate })
      return key
    })
    return made
  }

  /** The key, or undefined after an answer that says why not. */
  const open = async (request: FastifyRequest<Route>, reply: FastifyReply) => {
    if (!(await isAllowed(request.headers.authorization, context))) {
      reply
        .code(401)
        .header(
          'www-authenticate',
          `Bearer authorization="${origin()}/11111111-1111-4111-8111-111111111111", resource="${vaultApi.identifierUris[0]}"`,
        )
        .send(shapeError('Unauthorized', 'AKV10000: Request is missing a Bearer or PoP token.'))
      return undefined
    }
    const key = await prepare()
    const { name, version } = request.params
    if (name === clients.portal.name && [undefined, key.version].includes(version)) return key
    reply
      .code(404)
      .send(
        shapeError('KeyNotFound', `A key with (name/id) ${name} was not found in this key vault.`),
      )
    return undefined
  }

  for (const path of ['/keys/:name', '/keys/:name/:version']) {
    app.get<Route>(path, async (request, reply) => {
      const key = await open(request, reply)
      if (!key) return reply
      const { n, e } = key.publicKey.export({ format: 'jwk' })
      const kid = `${origin()}/keys/${request.params.name}/${key.version}`
      return {
        key: { kid, kty: 'RSA', key_ops: ['sign', 'verify'], n, e },
        attributes: { enabled: true },
      }
    })
  }
  for (const path of ['/certificates/:name', '/certificates/:name/:version']) {
    app.get<Route>(path, async (request, reply) => {
      const key = await open(request, reply)
      if (!key) return reply
      const { name } = request.params
      return {
        id: `${origin()}/certificates/${name}/${key.version}`,
        kid: `${origin()}/keys/${name}/${key.version}`,
        x5t: createHash('sha1').update(key.certificate).digest('base64url'),
        cer: key.certificate.toString('base64'),
        attributes: { enabled: true },
      }
    })
  }
  for (const path of ['/keys/:name/sign', '/keys/:name/:version/sign']) {
    app.post<Route>(path, async (request, reply) => {
      const key = await open(request, reply)
      if (!key) return reply
      const { alg, value } = { ...(request.body as { alg?: unknown; value?: unknown }) }
      const digest = Buffer.from(String(value), 'base64url')
      if ((alg !== 'PS256' && alg !== 'RS256') || digest.length !== 32) {
        return reply
          .code(400)
          .send(shapeError('BadParameter', 'alg is PS256 or RS256, value a SHA-256 in base64url.'))
      }
      const signature =
        alg === 'PS256'
          ? signPssDigest(digest, key.privateKey, random)
          : signDigest(digest, key.privateKey)
      return {
        kid: `${origin()}/keys/${request.params.name}/${key.version}`,
        value: signature.toString('base64url'),
      }
    })
  }
}

async function createVaultKey(now: () => number, random: Random): Promise<VaultKey> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  const certificate = createCertificate({
    commonName: 'dev-entra, portal',
    serial: random(8),
    notBeforeMs: now(),
    notAfterMs: now() + yearMs,
    publicKey,
    privateKey,
  })
  return { publicKey, privateKey, certificate, version: random(16).toString('hex') }
}

/** PKCS #1 v1.5 over a digest: Node signs messages only, so the DigestInfo is put in front here. */
function signDigest(digest: Buffer, key: KeyObject): Buffer {
  const digestInfo = Buffer.from('3031300d060960864801650304020105000420', 'hex')
  return privateEncrypt(
    { key, padding: constants.RSA_PKCS1_PADDING },
    Buffer.concat([digestInfo, digest]),
  )
}

/** Whether a token of this dev-entra for the vault was sent. */
async function isAllowed(header: string | undefined, context: DevEntraContext): Promise<boolean> {
  const [, token = ''] = /^bearer (\S+)$/i.exec(header ?? '') ?? []
  const [head = '', payload = '', signature = ''] = token.split('.')
  try {
    const { kid } = JSON.parse(Buffer.from(head, 'base64url').toString())
    const { aud, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString())
    const key = (await context.keyring.list()).find((one) => one.kid === kid)
    const audiences = [vaultApi.appId, ...vaultApi.identifierUris]
    return (
      key !== undefined &&
      verify(
        'sha256',
        Buffer.from(`${head}.${payload}`),
        key.publicKey,
        Buffer.from(signature, 'base64url'),
      ) &&
      audiences.includes(aud) &&
      exp * 1000 > context.now()
    )
  } catch {
    return false
  }
}

function toPem(certificate: Buffer): string {
  return `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64')}\n-----END CERTIFICATE-----\n`
}

function shapeError(code: string, message: string) {
  return { error: { code, message } }
}
