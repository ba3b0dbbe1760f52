import { createHash, X509Certificate } from 'node:crypto'
import type { Environment } from '../config/environment.ts'
import { CredentialError } from './credential-error.ts'
import { createIdentityTokens, type IdentityRuntime, plain } from './managed-identity.ts'

/** A key that signs in its vault and never leaves it. */
export interface VaultKey {
  /**
   * The PS256 signature of a text, by this version of the key if its address names none. Rejects with
   * CredentialError.
   */
  sign(input: string, version?: string): Promise<Buffer>
  /** The certificate of the same name and version. Rejects with CredentialError. */
  certificate(): Promise<VaultCertificate>
}

/** A certificate of a vault. */
export interface VaultCertificate {
  readonly certificate: X509Certificate
  /** The version of its key; undefined where the vault does not say. */
  readonly keyVersion: string | undefined
}

const apiVersion = '7.4'

/**
 * Creates the access to a key of Azure Key Vault (operations "sign" of keys and "get" of certificates).
 * The vault is asked with the managed identity of this machine, or the one that `AZURE_CLIENT_ID` names.
 */
export function createVaultKey(keyUrl: string, runtime: IdentityRuntime): VaultKey {
  const { env, http } = runtime
  const tokens = createIdentityTokens(identityFrom(env), runtime)
  const vault = new URL(keyUrl)

  async function call(path: string, body?: object): Promise<Record<string, unknown>> {
    const url = new URL(`${path}?api-version=${apiVersion}`, vault.origin)
    const token = await tokens.get(resourceOf(vault))
    const options = http.fetchOptions()
    const headers = {
      ...plain(options.headers),
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
    }
    const content = body ? { method: 'POST', body: JSON.stringify(body) } : {}
    let reply: Response
    try {
      reply = await fetch(url, { ...options, ...content, headers })
    } catch {
      throw new CredentialError('the vault cannot be reached')
    }
    if (reply.status !== 200) {
      await reply.body?.cancel()
      throw new CredentialError(
        `the vault answered ${reply.status}; the managed identity needs "sign" on keys and "get" on certificates`,
      )
    }
    // Without its members it is as good as none.
    const answer: unknown = await reply.json().catch(() => undefined)
    return { ...(answer as object) }
  }

  return {
    async sign(input, version) {
      const digest = createHash('sha256').update(input).digest('base64url')
      const hasVersion = /^\/keys\/[^/]+\/./.test(vault.pathname)
      const key = hasVersion || version === undefined ? '' : `/${version}`
      const path = `${vault.pathname}${key}/sign`
      const { value } = await call(path, { alg: 'PS256', value: digest })
      if (typeof value !== 'string')
        throw new CredentialError('the vault answered without a signature')
      return Buffer.from(value, 'base64url')
    },
    async certificate() {
      const { cer, kid } = await call(vault.pathname.replace(/^\/keys\//, '/certificates/'))
      const [, keyVersion] = /\/keys\/[^/]+\/([A-Za-z0-9]{1,64})$/.exec(String(kid)) ?? []
      try {
        return { certificate: new X509Certificate(Buffer.from(String(cer), 'base64')), keyVersion }
      } catch {
        throw new CredentialError(
          'the vault has no certificate of the name of the key; name it in certificateFile',
        )
      }
    },
  }
}

function identityFrom(env: Environment): string {
  return env.AZURE_CLIENT_ID?.trim().toLowerCase() || 'system'
}

/** The audience of a vault is its domain: `https://vault.azure.net` in the public cloud. */
function resourceOf({ hostname }: URL): string {
  const [, domain = 'vault.azure.net'] = /\.(vault\.[a-z.]+)$/.exec(hostname) ?? []
  return `https://${domain}`
}
