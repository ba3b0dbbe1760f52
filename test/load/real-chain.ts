/** dev-entra, the verifier as a process, the shipped HAProxy and an application that keeps up. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, shippedConfig, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { order } from '../dev-entra/support.ts'
import { contoso, ordersId } from '../serve/authority.ts'
import { makeFolder, startService, untilReady } from '../serve/process.ts'
import { createNativeApplication } from './native-application.ts'

export interface RealChain {
  readonly haproxy: Haproxy
  /** `http://127.0.0.1:PORT` of the admin listener. */
  readonly admin: string
  /** A token of a user with this object id. */
  token(oid: string): Promise<string>
}

/** Starts everything; `policy` are more members of the policy `orders`, `env` is HAProxy's. It ends with the suite. */
export async function startRealChain(
  t: { after(cleanUp: () => unknown): void },
  policy: string,
  env: Readonly<Record<string, string>> = {},
): Promise<RealChain> {
  const entra = buildDevEntra({ now: Date.now })
  t.after(() => entra.close())
  const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
  const folder = makeFolder(t)
  const [adminPort = 0] = await freePorts(1)
  const file = join(folder, 'config.yaml')
  writeFileSync(
    file,
    `
admin: { port: ${adminPort} }
revocationFile: ${JSON.stringify(join(folder, 'revocations.json'))}
tenants: { contoso: { id: ${contoso}, authority: ${authority} } }
policies:
  orders: { audiences: [${ordersId}], allow: [{ actor: user, scopes: [Orders.Read] }], ${policy} }
`,
  )
  const service = await startService(t, { ENTRA_AUTH_CONFIG: file, ENTRA_AUTH_ADMIN_PORT: '' })
  await untilReady(service)
  const application = await createNativeApplication('%[req.fhdr(x-auth-request-user)]')
  const config = join(folder, 'haproxy.cfg')
  writeFileSync(config, application.edit(readFileSync(shippedConfig, 'utf8')))
  const haproxy = await startHaproxy({
    verifier: service.address,
    application: application.address,
    configs: [config],
    env,
  })
  t.after(() => haproxy.stop())
  return {
    haproxy,
    admin: `http://127.0.0.1:${adminPort}`,
    token: async (oid) => (await order(entra, { persona: 'alice', claims: { oid } })).token,
  }
}

/** A GUID for each number. */
export function guid(index: number): string {
  return `50000000-0000-4000-8000-${String(index).padStart(12, '0')}`
}

/** The value below which this share of all is; of 100 values and 0.99 the 99th. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN
}
