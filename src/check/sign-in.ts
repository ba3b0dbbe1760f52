import type { Config, SignInConfig, TenantConfig } from '../config/config.ts'
import type { Environment } from '../config/environment.ts'
import { formatPath } from '../config/problems.ts'
import { signInUrisOf } from '../config/redirect-uris.ts'
import { canRevoke } from '../config/store.ts'
import { readCertificate } from '../credential/assertion.ts'
import { createCredential } from '../credential/credential.ts'
import { CredentialError } from '../credential/credential-error.ts'
import type { Http } from '../keys/http.ts'
import type { Finding } from './report.ts'

/** What looking at sign-in needs from outside. */
export interface SignInCheckContext {
  readonly clock: () => number
  readonly env: Environment
  readonly readFile: (path: string) => string
  /** When a file was last changed, in ms; undefined where nobody can tell. */
  readonly modifiedMs: (path: string) => number | undefined
  /** Names of the files in a folder; undefined where there is no such folder. */
  readonly listFolder: (path: string) => readonly string[] | undefined
  /** Bytes of a file; undefined where nobody can tell. */
  readonly sizeOf: (path: string) => number | undefined
  /** Reads the sealing keys of a folder; rejects with what is wrong with them. */
  readonly readSealingKeys: (folder: string) => Promise<unknown>
  readonly randomId: () => string
  readonly createHttp: () => Http
  readonly offline: boolean
  readonly onProgress: (line: string) => void
}

/** A certificate with less time left should be renewed, in ms. */
const renewalMs = 30 * 24 * 3_600_000

const dayMs = 24 * 3_600_000

/** Looks at sign-in: what to register, what will break, and whether Entra takes the credential. */
export async function checkSignIn(config: Config, context: SignInCheckContext): Promise<Finding[]> {
  const { signIn, tenants } = config
  const tenant = tenants.find(({ id }) => id === signIn?.tenantId)
  if (!signIn || !tenant) return []
  return [
    ...noteRedirectUris(signIn),
    ...checkRevocations(config),
    ...checkSessionGrants(config),
    ...checkTimes(signIn),
    ...(await checkSealingKeys(signIn, context)),
    ...checkLogo(signIn, context),
    ...checkSecret(signIn, context),
    ...checkCertificate(signIn, context),
    ...(context.offline ? [] : await tryCredential(signIn, tenant, context)),
  ]
}

function noteRedirectUris(signIn: SignInConfig): Finding[] {
  const { callbacks, signedOut } = signInUrisOf(signIn)
  const path = formatPath(['signIn', 'hosts'])
  const hint = `Register them under App registrations > ${signIn.clientId} > Authentication > Web.`
  return [
    { level: 'note', path, message: `redirect URIs to register: ${callbacks.join(' ')}`, hint },
    {
      level: 'note',
      path,
      message: `redirect URIs to register as well, for the way back after a sign-out: ${signedOut.join(' ')}`,
      hint,
    },
  ]
}

function checkRevocations(config: Config): Finding[] {
  if (canRevoke(config)) return []
  return [
    {
      level: 'warning',
      path: 'signIn',
      message:
        'has no place for revocations: after a sign-out a copied cookie is good until its session ends',
      hint: 'Set revocationFile.',
    },
  ]
}

/** Without a grant for sessions people sign in and get nowhere. */
function checkSessionGrants({ policies }: Config): Finding[] {
  if (policies.some(({ allow }) => allow.some((grant) => grant.session === true))) return []
  return [
    {
      level: 'warning',
      path: 'signIn',
      message:
        'lets people sign in, and no policy admits them: none has a grant with session: true',
      hint: 'Add a grant such as { actor: user, session: true } to a policy.',
    },
  ]
}

function checkTimes({ recheckMinutes, sessionHours }: SignInConfig): Finding[] {
  if (recheckMinutes < sessionHours * 60) return []
  return [
    {
      level: 'warning',
      path: formatPath(['signIn', 'recheckMinutes']),
      message: `is not shorter than sessionHours (${sessionHours} h): nobody asks Entra about a person before the session ends`,
      hint: 'Make recheckMinutes shorter, so that a disabled account is noticed.',
    },
  ]
}

async function checkSealingKeys(
  signIn: SignInConfig,
  { listFolder, readSealingKeys }: SignInCheckContext,
): Promise<Finding[]> {
  const path = formatPath(['signIn', 'sealingKeys'])
  const names = listFolder(signIn.sealingKeys)?.filter((name) => !name.startsWith('.'))
  if (names !== undefined && names.length > 0) {
    try {
      await readSealingKeys(signIn.sealingKeys)
      return []
    } catch (error) {
      const { message } = error as Error
      const isForbidden = /\((EACCES|EPERM)\)/.test(message)
      return [
        {
          // Whoever runs this may read less than the service, as it should be.
          level: isForbidden ? 'warning' : 'problem',
          path,
          message: `cannot be used: ${message}`,
          hint: isForbidden
            ? 'Run this as the user of the service to check the keys.'
            : 'Correct the file or remove it: the service does not start with it.',
        },
      ]
    }
  }
  return [
    {
      level: 'warning',
      path,
      message: `is ${names === undefined ? 'no folder yet' : 'empty'}: the service creates a key there if it has permission. Replicas that do not share the folder end each other's sessions`,
      hint: 'Give all replicas the same folder, or write a key there with "openssl rand -base64 32".',
    },
  ]
}

/** Longest picture on the pages, in bytes. */
const maxLogoBytes = 32 * 1024

function checkLogo({ page }: SignInConfig, { readFile, sizeOf }: SignInCheckContext): Finding[] {
  const { logoFile } = page
  if (logoFile === undefined) return []
  const problem = (message: string): Finding[] => [
    {
      level: 'problem',
      path: formatPath(['signIn', 'page', 'logoFile']),
      message,
      hint: 'Name an SVG or PNG file of at most 32 KiB: the service does not start without it.',
    },
  ]
  try {
    readFile(logoFile)
  } catch (error) {
    return problem(`cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unreadable'})`)
  }
  return (sizeOf(logoFile) ?? 0) > maxLogoBytes ? problem('is larger than 32 KiB') : []
}

function checkSecret({ credential }: SignInConfig, context: SignInCheckContext): Finding[] {
  if (credential.kind !== 'clientSecretFile') return []
  const changedMs = context.modifiedMs(credential.secretFile)
  const days =
    changedMs === undefined ? undefined : Math.floor((context.clock() - changedMs) / dayMs)
  const age = days === undefined ? '' : `; the file is ${days} day${days === 1 ? '' : 's'} old`
  return [
    {
      level: 'warning',
      path: formatPath(['signIn', 'credential', 'clientSecretFile']),
      message: `is a secret, which can be copied and which expires${age}`,
      hint: 'Use federatedTokenFile or managedIdentity where there is one, else a certificate.',
    },
  ]
}

function checkCertificate({ credential }: SignInConfig, context: SignInCheckContext): Finding[] {
  const file = 'certificateFile' in credential ? credential.certificateFile : undefined
  if (file === undefined) return []
  let endMs: number
  try {
    endMs = Date.parse(readCertificate(context.readFile(file)).validTo)
  } catch {
    // Whoever tries the credential says what is wrong with it.
    return []
  }
  if (endMs - context.clock() > renewalMs) return []
  const ended = endMs <= context.clock()
  return [
    {
      level: ended ? 'problem' : 'warning',
      path: formatPath(['signIn', 'credential', 'certificateFile']),
      message: `names a certificate that ${ended ? 'ended' : 'ends'} at ${new Date(endMs).toISOString()}`,
      hint: 'Renew it and add the new one to the registration: nobody can sign in after its end.',
    },
  ]
}

/** Any resource will do: what matters is whether Entra knows who asks. */
const scopes = {
  public: 'https://graph.microsoft.com/.default',
  usgov: 'https://graph.microsoft.us/.default',
  china: 'https://microsoftgraph.chinacloudapi.cn/.default',
} as const

/** Errors about what was asked for, of somebody whom Entra knows by then. */
const saysNothingOfUs: ReadonlySet<string> = new Set([
  'invalid_scope',
  'invalid_resource',
  'invalid_target',
])

async function tryCredential(
  signIn: SignInConfig,
  tenant: TenantConfig,
  context: SignInCheckContext,
): Promise<Finding[]> {
  const path = formatPath(['signIn', 'credential'])
  const { kind } = signIn.credential
  const http = context.createHttp()
  context.onProgress(`trying the credential (${kind}) at ${tenant.authority}`)
  try {
    const token = `${tenant.authority}/${tenant.id}/oauth2/v2.0/token`
    const owner = { clientId: signIn.clientId, tenant }
    const credential = createCredential(signIn.credential, owner, { ...context, http })
    const { status, error, description, isEntra } = await ask(http, token, {
      grant_type: 'client_credentials',
      client_id: signIn.clientId,
      scope: tenant.cloud ? scopes[tenant.cloud] : `${signIn.clientId}/.default`,
      ...(await credential.proof(token)),
    })
    if (!isEntra) {
      return [
        {
          level: 'unreachable',
          path,
          message: `could not be tried: ${status} is no answer of Entra's token endpoint`,
          hint: 'Check network and proxy, and try again later.',
        },
      ]
    }
    if (error === undefined || saysNothingOfUs.has(error)) {
      return [
        {
          level: 'note',
          path,
          message: `works: ${tenant.authority} takes ${kind}`,
          hint: 'Nothing to do.',
        },
      ]
    }
    return [
      {
        level: 'problem',
        path,
        message: `is refused: ${kind} got ${status} ${error} ${description}`.trim(),
        hint: 'Compare client id, tenant, and what is registered under Certificates & secrets.',
      },
    ]
  } catch (error) {
    const isOurs = error instanceof CredentialError
    return [
      {
        level: isOurs ? 'problem' : 'unreachable',
        path,
        message: isOurs ? `cannot be used: ${error.message}` : 'could not be tried: no answer',
        hint: isOurs ? 'Correct it: nobody can sign in without it.' : 'Check network and proxy.',
      },
    ]
  } finally {
    await http.close()
  }
}

async function ask(http: Http, url: string, form: Readonly<Record<string, string>>) {
  const reply = await fetch(url, {
    ...http.fetchOptions(),
    method: 'POST',
    body: new URLSearchParams(form),
  })
  const { status } = reply
  const answer: unknown = await reply.json().catch(() => undefined)
  const body: Record<string, unknown> = { ...(answer as object) }
  const error = status === 200 ? undefined : body.error
  return {
    status,
    error: error === undefined ? undefined : String(error),
    description: /\bAADSTS\d{4,8}\b/.exec(String(body.error_description ?? ''))?.[0] ?? '',
    // A throttle, an outage or a proxy on the way says nothing about the credential.
    isEntra:
      status === 200
        ? typeof body.access_token === 'string'
        : [400, 401].includes(status) && typeof error === 'string',
  }
}
