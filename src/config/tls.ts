import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import type { TlsConfig } from './config.ts'
import type { Path, Report } from './problems.ts'

/** What stands in the two files of `listen.tls`; undefined for one that could not be read. */
export interface TlsTexts {
  readonly certificate: string | undefined
  readonly key: string | undefined
}

const certificatePath: Path = ['listen', 'tls', 'certificateFile']
const keyPath: Path = ['listen', 'tls', 'keyFile']

/**
 * Checks that certificate and private key are such, and belong together: while somebody writes one
 * after the other they do not. Undefined where something is wrong, which is reported.
 */
export function checkTls({ certificate, key }: TlsTexts, report: Report): TlsConfig | undefined {
  const parsed = certificate === undefined ? undefined : parseCertificate(certificate, report)
  const privateKey = key === undefined ? undefined : parseKey(key, report)
  if (certificate === undefined || key === undefined || !parsed || !privateKey) return undefined
  if (!parsed.checkPrivateKey(privateKey)) {
    report(
      keyPath,
      'names a private key that does not belong to the certificate',
      'Renew both files; the first certificate in its file must be the one of this key.',
    )
    return undefined
  }
  try {
    createSecureContext({ cert: certificate, key })
  } catch (error) {
    report(
      certificatePath,
      `cannot be used for TLS (${(error as NodeJS.ErrnoException).code ?? 'unknown cause'})`,
      'Use a key of 2048 bits or more, or an elliptic curve, and a complete chain.',
    )
    return undefined
  }
  return { certificate, key, notAfterMs: Date.parse(parsed.validTo) }
}

function parseCertificate(pem: string, report: Report): X509Certificate | undefined {
  try {
    return new X509Certificate(pem)
  } catch {
    report(
      certificatePath,
      'names a file that holds no certificate',
      'Write the certificate and those between it and its authority in PEM form.',
    )
    return undefined
  }
}

function parseKey(pem: string, report: Report): KeyObject | undefined {
  try {
    return createPrivateKey(pem)
  } catch {
    const isEncrypted = /ENCRYPTED/.test(pem.slice(0, 400))
    report(
      keyPath,
      isEncrypted ? 'names an encrypted private key' : 'names a file that holds no private key',
      isEncrypted
        ? 'Store it without a passphrase, readable by the service alone.'
        : 'Write the private key in PEM form.',
    )
    return undefined
  }
}
