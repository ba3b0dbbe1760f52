import { domainToASCII } from 'node:url'
import { isLoopback } from '../loopback.ts'
import { nearest } from '../nearest.ts'
import type { CredentialConfig, ListenAddress, SignInConfig, TenantConfig } from './config.ts'
import { defaults } from './defaults.ts'
import { type Environment, variableOf } from './environment.ts'
import { checkGuid, isGuid } from './guid.ts'
import { addressOf, clash, type Listeners } from './listeners.ts'
import { type Path, quote, type Report } from './problems.ts'
import { entriesOf, itemsOf, mappingOf, memberOf, numberOr, textOf } from './values.ts'

/** What the section is checked against. */
export interface SignInSurroundings {
  readonly env: Environment
  readonly tenants: readonly TenantConfig[]
  readonly listeners: Listeners
}

/** Checks the section `signIn`; undefined where there is none. */
export function checkSignIn(
  section: unknown,
  { env, tenants, listeners }: SignInSurroundings,
  report: Report,
): SignInConfig | undefined {
  if (mappingOf(section) === undefined) return undefined
  const clientId = memberOf(section, 'clientId')
  const page = memberOf(section, 'page')
  const [text, logoFile] = [textOf(memberOf(page, 'text')), textOf(memberOf(page, 'logoFile'))]
  return {
    clientId:
      clientId === undefined
        ? ''
        : checkGuid(
            clientId,
            ['signIn', 'clientId'],
            'Write the application (client) id of the web application.',
            report,
          ),
    tenantId: checkTenantName(memberOf(section, 'tenant'), tenants, report),
    credential: checkCredential(memberOf(section, 'credential'), env, report),
    hosts: itemsOf(memberOf(section, 'hosts')).map((host, index) =>
      checkHost(textOf(host) ?? '', ['signIn', 'hosts', index], report),
    ),
    listen: checkListen(section, listeners, report),
    sealingKeys: textOf(memberOf(section, 'sealingKeys')) ?? defaults.sealingKeys,
    recheckMinutes: numberOr(memberOf(section, 'recheckMinutes'), defaults.recheckMinutes),
    sessionHours: numberOr(memberOf(section, 'sessionHours'), defaults.sessionHours),
    page: {
      ...(text === undefined ? {} : { text }),
      ...(logoFile === undefined ? {} : { logoFile }),
    },
  }
}

function checkTenantName(value: unknown, tenants: readonly TenantConfig[], report: Report): string {
  const [first, second] = tenants
  if (value === undefined) {
    if (first !== undefined && second !== undefined) {
      report(
        ['signIn', 'tenant'],
        'is missing although there are several tenants',
        `Write one of ${tenants.map(({ name }) => name).join(', ')}: whose people sign in.`,
      )
    }
    return first?.id ?? ''
  }
  const name = textOf(value)
  const tenant = tenants.find((candidate) => candidate.name === name)
  if (tenant === undefined && name !== undefined && tenants.length > 0) {
    const names = tenants.map((candidate) => candidate.name)
    const near = nearest(name, names)
    report(
      ['signIn', 'tenant'],
      `is not a configured tenant: ${quote(name)}`,
      near === undefined ? `Configured: ${names.join(', ')}.` : `Did you mean ${quote(near)}?`,
    )
  }
  return tenant?.id ?? ''
}

/** Host names as browsers send them: lower case, and a port where it is not the usual one. */
function checkHost(host: string, path: Path, report: Report): string {
  // No empty label, as of a dot at the end: browsers keep it, and Entra knows another redirect URI.
  const form = /^([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(:[1-9]\d{0,4})?$/
  const [, name = '', port] = form.exec(host) ?? []
  if (name === '' || Number(port?.slice(1) ?? 1) > 65_535) {
    const sent = /[^ -~]/.test(host) ? domainToASCII(host) : ''
    report(
      path,
      `is not a host name: ${quote(host)}`,
      sent === ''
        ? 'Write the exact name that people type, such as portal.contoso.com, without https:// and without a path.'
        : `Write the name as browsers send it: ${sent}`,
    )
  }
  const lower = host.toLowerCase()
  return isLoopback(name) ? lower : lower.replace(/:443$/, '')
}

function checkListen(section: unknown, listeners: Listeners, report: Report): ListenAddress {
  const listen = addressOf(section, 'listen', defaults.signInPort)
  const taken = entriesOf(listeners).find(([, other]) => clash(other as ListenAddress, listen))
  if (taken !== undefined) {
    report(
      ['signIn', 'listen'],
      `wants the same address as ${taken[0]}: port ${listen.port}`,
      'Give each listener its own port.',
    )
  }
  return listen
}

const kinds = [
  'federatedTokenFile',
  'managedIdentity',
  'certificateFile',
  'keyVaultKey',
  'clientSecretFile',
] as const

/** Checks a section `credential`; without one the variables count that Azure's SDKs use. */
function checkCredential(
  section: unknown,
  env: Environment,
  report: Report,
  path: Path = ['signIn', 'credential'],
): CredentialConfig {
  const none: CredentialConfig = { kind: 'federatedTokenFile', tokenFile: '' }
  if (section === undefined) return credentialFrom(env, path, report) ?? none
  const text = (key: string) => textOf(memberOf(section, key))
  const certificateFile = text('certificateFile')
  const key = text('keyVaultKey')
  const named = kinds.filter(
    // Beside a key in a vault it is that key's certificate.
    (kind) => text(kind) !== undefined && !(kind === 'certificateFile' && key !== undefined),
  )
  const [kind, other] = named
  if (kind === undefined || other !== undefined) {
    if (mappingOf(section) !== undefined) {
      report(
        path,
        kind === undefined ? 'names no credential' : `names two: ${kind} and ${other}`,
        `Write exactly one of ${kinds.join(', ')}.`,
      )
    }
    return none
  }
  switch (kind) {
    case 'federatedTokenFile':
      return { kind, tokenFile: text(kind) ?? '' }
    case 'managedIdentity':
      return { kind, identity: checkIdentity(text(kind) ?? '', [...path, kind], report) }
    case 'clientSecretFile':
      return { kind, secretFile: text(kind) ?? '' }
    case 'certificateFile': {
      const keyFile = text('keyFile')
      if (keyFile === undefined) {
        report([...path, 'keyFile'], 'is missing', 'Write the path of the private key (PEM).')
      }
      return { kind, certificateFile: certificateFile ?? '', keyFile: keyFile ?? '' }
    }
    case 'keyVaultKey':
      // The vault would sign with a new version from its rotation on, and Entra refuse each sign-in.
      if (certificateFile !== undefined && /^[^/]*\/\/[^/]+\/keys\/[^/]+$/.test(key ?? '')) {
        report(
          [...path, kind],
          'names no version of the key, and certificateFile is the certificate of one version',
          'Add the version, as in https://contoso.vault.azure.net/keys/sign-in/VERSION, or remove certificateFile if the vault has the certificate.',
        )
      }
      return {
        kind,
        key: checkVaultKey(key ?? '', [...path, kind], report),
        ...(certificateFile === undefined ? {} : { certificateFile }),
      }
  }
}

function credentialFrom(
  env: Environment,
  path: Path,
  report: Report,
): CredentialConfig | undefined {
  const tokenFile = variableOf(env, 'AZURE_FEDERATED_TOKEN_FILE')
  if (tokenFile !== undefined) return { kind: 'federatedTokenFile', tokenFile }
  const certificate = variableOf(env, 'AZURE_CLIENT_CERTIFICATE_PATH')
  // One file for both, as Azure's SDKs read it.
  if (certificate !== undefined) {
    return { kind: 'certificateFile', certificateFile: certificate, keyFile: certificate }
  }
  if (variableOf(env, 'AZURE_CLIENT_SECRET') !== undefined) {
    report(
      path,
      'is missing, and AZURE_CLIENT_SECRET is a literal secret, which is not read',
      'Write the secret into a file and name that in clientSecretFile, or better use a credential without a secret.',
    )
    return undefined
  }
  report(
    path,
    'is missing',
    `Write one of ${kinds.join(', ')}, or set AZURE_FEDERATED_TOKEN_FILE or AZURE_CLIENT_CERTIFICATE_PATH.`,
  )
  return undefined
}

function checkIdentity(text: string, path: Path, report: Report): string {
  if (text !== 'system' && !isGuid(text)) {
    report(
      path,
      `is no managed identity: ${quote(text)}`,
      'Write system, or the client id (a GUID) of a user-assigned identity.',
    )
  }
  return text.toLowerCase()
}

function checkVaultKey(text: string, path: Path, report: Report): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isSafe =
    url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname))
  const isKey =
    url !== undefined && /^\/keys\/[A-Za-z0-9-]{1,127}(\/[A-Za-z0-9]{1,64})?$/.test(url.pathname)
  if (!isSafe || !isKey || /[?#@\\]/.test(text)) {
    report(
      path,
      'is no key of a vault',
      'Write the key identifier, such as https://contoso.vault.azure.net/keys/sign-in.',
    )
  }
  return text
}
