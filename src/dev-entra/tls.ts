import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import { createCertificate } from './certificate.ts'
import type { Random } from './keys.ts'

/** Certificate and private key of a listener, as PEM. */
export interface TlsIdentity {
  readonly cert: string
  readonly key: string
}

const lifetimeMs = 365 * 24 * 3600 * 1000
// A client whose clock is a little behind must not find it in the future.
const backdatedMs = 5 * 60 * 1000

/**
 * Makes a TLS identity for this machine and `hosts`, good for a year. It is self-signed: clients
 * trust the certificate itself, by `NODE_EXTRA_CA_CERTS` for example. The key is kept nowhere.
 */
export async function createTlsIdentity(
  now: () => number,
  random: Random,
  hosts: readonly string[] = [],
): Promise<TlsIdentity> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: 2048,
  })
  const der = createCertificate({
    commonName: 'dev-entra, not Microsoft Entra ID',
    serial: random(8),
    notBeforeMs: now() - backdatedMs,
    notAfterMs: now() + lifetimeMs,
    publicKey,
    privateKey,
    hosts: [...new Set(['localhost', '127.0.0.1', '::1', ...hosts])],
  })
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}
