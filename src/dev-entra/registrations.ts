import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import { isLoopback } from '../loopback.ts'
import { type ClientRegistration, clients, portalHosts } from './directory.ts'

/** A token of another issuer that Entra takes in place of a secret. */
export interface FederatedCredential {
  /** Path of the issuer below dev-entra's own origin. */
  readonly issuerPath: string
  readonly subject: string
}

/** What the registration of a client can be given while dev-entra runs. */
export interface RegistrationChanges {
  readonly redirectUris?: readonly string[]
  /** Front-channel logout URL. */
  readonly logoutUrl?: string
  /** A certificate as PEM, whose key may sign client assertions. */
  readonly certificate?: string
}

/** The registrations of one dev-entra: what can change of them. */
export interface Registrations {
  /** Whether tokens may go to this address: a registered one, or any at loopback. */
  allowsRedirect(client: ClientRegistration, uri: string): boolean
  /** Whether some registration has this address, for the way back after signing out. */
  allowsReturn(uri: string): boolean
  logoutUrl(client: ClientRegistration): string | undefined
  /** The public key of a certificate by its thumbprint (SHA-1 or SHA-256, base64url). */
  certificateKey(client: ClientRegistration, thumbprint: string): KeyObject | undefined
  /** Throws where the certificate is none. */
  change(client: ClientRegistration, changes: RegistrationChanges): void
}

interface Entry {
  readonly redirectUris: Set<string>
  logoutUrl?: string
  readonly certificates: Map<string, KeyObject>
}

const maxOfEach = 100

/** Creates the registrations, with what the documentation says of the portal. */
export function createRegistrations(): Registrations {
  const entries = new Map<string, Entry>()
  const of = (client: ClientRegistration) => {
    const known: Entry = entries.get(client.appId) ?? {
      redirectUris: new Set(),
      certificates: new Map(),
    }
    entries.set(client.appId, known)
    return known
  }
  const registrations: Registrations = {
    allowsRedirect: (client, uri) => isAtLoopback(uri) || of(client).redirectUris.has(uri),
    allowsReturn: (uri) =>
      isAtLoopback(uri) || [...entries.values()].some(({ redirectUris }) => redirectUris.has(uri)),
    logoutUrl: (client) => of(client).logoutUrl,
    certificateKey: (client, thumbprint) => of(client).certificates.get(thumbprint),
    change(client, { redirectUris = [], logoutUrl, certificate }) {
      const entry = of(client)
      const parsed = certificate === undefined ? undefined : new X509Certificate(certificate)
      for (const uri of redirectUris) {
        if (entry.redirectUris.size < maxOfEach) entry.redirectUris.add(uri)
      }
      if (logoutUrl !== undefined) entry.logoutUrl = logoutUrl
      if (!parsed || entry.certificates.size >= maxOfEach) return
      for (const hash of ['sha1', 'sha256']) {
        const thumbprint = createHash(hash).update(parsed.raw).digest('base64url')
        entry.certificates.set(thumbprint, parsed.publicKey)
      }
    },
  }
  registrations.change(clients.portal, {
    redirectUris: portalHosts.flatMap((host) => [
      `https://${host}/oauth2/callback`,
      `https://${host}/oauth2/signed_out`,
    ]),
  })
  return registrations
}

function isAtLoopback(uri: string): boolean {
  if (!URL.canParse(uri)) return false
  const { protocol, hostname, hash } = new URL(uri)
  return ['http:', 'https:'].includes(protocol) && isLoopback(hostname) && hash === ''
}
