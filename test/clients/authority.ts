/** dev-entra over HTTPS, trusted by this process and by each service that is given its `env`. */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { buildDevEntra, type DevEntraOptions } from '../../src/dev-entra/app.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { type Life, makeFolder } from '../serve/process.ts'

export const contoso = '11111111-1111-4111-8111-111111111111'
export const ordersId = '33333333-3333-4333-8333-333333333333'

export interface TlsAuthority {
  /** `https://127.0.0.1:PORT` */
  readonly origin: string
  /** What a process needs to trust it. */
  readonly env: { readonly NODE_EXTRA_CA_CERTS: string }
  /** How often each endpoint was asked so far. */
  counts(): Promise<Record<string, number>>
}

/** Starts dev-entra over HTTPS; it ends with the test. */
export async function startTlsAuthority(
  t: Life,
  options: Partial<DevEntraOptions> = {},
): Promise<TlsAuthority> {
  const tls = await createTlsIdentity(Date.now, randomBytes)
  const file = join(makeFolder(t), 'dev-entra.pem')
  writeFileSync(file, tls.cert)
  // What NODE_EXTRA_CA_CERTS does for a process that has not started yet.
  const trusted = getCACertificates('default')
  setDefaultCACertificates([...trusted, tls.cert])
  const app = buildDevEntra({ now: Date.now, tls, ...options })
  t.after(async () => {
    setDefaultCACertificates(trusted)
    await app.close()
  })
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  return {
    origin,
    env: { NODE_EXTRA_CA_CERTS: file },
    counts: async () => (await app.inject('/dev/requests')).json().counts,
  }
}
