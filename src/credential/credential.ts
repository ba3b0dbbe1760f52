import type { CredentialConfig, TenantConfig } from '../config/config.ts'
import type { Environment } from '../config/environment.ts'
import type { Http } from '../keys/http.ts'
import {
  type AssertionRuntime,
  createAssertion,
  readCertificate,
  readPrivateKey,
} from './assertion.ts'
import { CredentialError } from './credential-error.ts'
import { createIdentityTokens } from './managed-identity.ts'
import { createVaultKey } from './vault-key.ts'

/** What a credential needs from outside. */
export interface CredentialRuntime extends AssertionRuntime {
  /** The clock for intervals, in ms; `clock` where absent. */
  readonly elapsed?: () => number
  readonly http: Pick<Http, 'fetchOptions'>
  readonly readFile: (path: string) => string | Promise<string>
  readonly env: Environment
}

/** Whom the credential speaks for. */
export interface CredentialOwner {
  readonly clientId: string
  readonly tenant: Pick<TenantConfig, 'cloud'>
}

/** How the service proves itself to Entra. */
export interface Credential {
  readonly kind: CredentialConfig['kind']
  /**
   * The parameters that prove it in a request to the token endpoint, made anew for each. Rejects with
   * CredentialError where the credential cannot be had.
   */
  proof(tokenEndpoint: string): Promise<Readonly<Record<string, string>>>
}

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/**
 * Creates a credential. Nothing is read before it is used, and files are read each time, so that a new
 * one counts without a restart.
 */
export function createCredential(
  config: CredentialConfig,
  { clientId, tenant }: CredentialOwner,
  runtime: CredentialRuntime,
): Credential {
  const asserted = (assertion: string) => ({
    client_assertion_type: assertionType,
    client_assertion: assertion,
  })
  const read = (path: string) => readFileOf(config.kind, path, runtime)
  switch (config.kind) {
    case 'clientSecretFile':
      return {
        kind: config.kind,
        proof: async () => ({ client_secret: await readOneLine(config.secretFile, read) }),
      }
    case 'federatedTokenFile':
      return {
        kind: config.kind,
        proof: async () => asserted(await readOneLine(config.tokenFile, read)),
      }
    case 'managedIdentity': {
      const tokens = createIdentityTokens(config.identity, runtime)
      const audience = exchangeAudiences[tenant.cloud ?? 'public']
      return { kind: config.kind, proof: async () => asserted(await tokens.get(audience)) }
    }
    case 'certificateFile':
      return {
        kind: config.kind,
        async proof(tokenEndpoint) {
          const certificate = readCertificate(await read(config.certificateFile))
          const key = readPrivateKey(await read(config.keyFile), certificate)
          const about = { clientId, audience: tokenEndpoint, certificate }
          return asserted(await createAssertion(about, async (input) => key.sign(input), runtime))
        },
      }
    case 'keyVaultKey': {
      const vaultKey = createVaultKey(config.key, runtime)
      return {
        kind: config.kind,
        async proof(tokenEndpoint) {
          const { certificate, keyVersion } = config.certificateFile
            ? { certificate: readCertificate(await read(config.certificateFile)) }
            : await vaultKey.certificate()
          const about = { clientId, audience: tokenEndpoint, certificate }
          // The vault may get a new version in between, and its API wants one.
          const sign = (input: string) => vaultKey.sign(input, keyVersion)
          return asserted(await createAssertion(about, sign, runtime))
        },
      }
    }
  }
}

/** What a token of a managed identity is for, where it stands for a registration ("Configure an application to trust a managed identity"). */
const exchangeAudiences = {
  public: 'api://AzureADTokenExchange',
  usgov: 'api://AzureADTokenExchangeUSGov',
  china: 'api://AzureADTokenExchangeChina',
} as const

async function readFileOf(
  kind: CredentialConfig['kind'],
  path: string,
  { readFile }: CredentialRuntime,
): Promise<string> {
  try {
    return await readFile(path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable'
    throw new CredentialError(`the file of ${kind} cannot be read (${code})`)
  }
}

async function readOneLine(path: string, read: (path: string) => Promise<string>): Promise<string> {
  const text = (await read(path)).trim()
  if (!/^[!-~]{1,16384}$/.test(text)) {
    throw new CredentialError('the file is empty, or holds more than one line of printable ASCII')
  }
  return text
}
