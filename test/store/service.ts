/** Replicas as processes, as an operator runs them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Authority, contoso, ordersId } from '../serve/authority.ts'
import {
  type Life,
  type ServiceProcess,
  startService,
  untilReady,
  verify,
} from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'

/** Object ids. */
export const user = (index: number) => `60000000-0000-4000-8000-${String(index).padStart(12, '0')}`
let users = 0

/** Object id of a user that no test has revoked yet. */
export const nextUser = () => user(users++)

/** Object id of the user who was revoked last. */
export const lastUser = () => user(users - 1)

/** A service with the store, and the address of its revocations. */
export interface Replica {
  readonly service: ServiceProcess
  readonly admin: string
}

/**
 * Starts a replica; `name` keeps its files apart from those of others, and over its restarts. `store`
 * is the section of that name, `more` are members of the policy. It need not be ready yet.
 */
export async function launchReplica(
  t: Life,
  authority: Authority,
  folder: string,
  name: string,
  store: object | undefined,
  more: object = {},
): Promise<Replica> {
  const [adminPort = 0] = await freePorts(1)
  const file = join(folder, `${name}.yaml`)
  writeFileSync(
    file,
    JSON.stringify({
      admin: { port: adminPort },
      tenants: { contoso: { id: contoso, authority: authority.origin } },
      policies: {
        orders: { audiences: [ordersId], allow: [{ actor: 'user', scopes: 'any' }], ...more },
        default: { audiences: [ordersId], allow: [{ actor: 'user', scopes: 'any' }] },
      },
      revocationFile: join(folder, `${name}.json`),
      ...(store && { store }),
    }),
  )
  const env = { ENTRA_AUTH_CONFIG: file, ENTRA_AUTH_ADMIN_PORT: '' }
  const service = await startService(t, env)
  return { service, admin: `http://127.0.0.1:${adminPort}/revocations` }
}

/** Starts a replica, and waits until it is ready. */
export async function startReplica(...args: Parameters<typeof launchReplica>): Promise<Replica> {
  const replica = await launchReplica(...args)
  await untilReady(replica.service)
  return replica
}

/** Posts a revocation; the status, or 0 where there was no answer. */
export async function post({ admin }: Replica, body: object): Promise<number> {
  const reply = await fetch(admin, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }).catch(() => undefined)
  await reply?.text()
  return reply?.status ?? 0
}

/** Revokes a user; the status. */
export const revoke = (replica: Replica, oid: string) =>
  post(replica, { kind: 'user', id: `${contoso}/${oid}`, before: 4_000_000_000 })

/** Revokes a user of whom nobody heard yet, until that is accepted; returns a token of this user. */
export async function revokeSomebody(replica: Replica, authority: Authority): Promise<string> {
  const oid = nextUser()
  const token = await authority.token('alice', { claims: { oid } })
  await eventually(
    () => revoke(replica, oid),
    (status) => status === 201,
  )
  return token
}

/** Why a token is refused, or `allowed`. */
export const reasonOf = async ({ service }: Replica, token: string) =>
  (await verify(service, token)).reason ?? 'allowed'

/** Waits until all replicas refuse a token of a user who was revoked. */
export async function untilRefused(replicas: readonly Replica[], token: string): Promise<void> {
  for (const replica of replicas) {
    await eventually(
      () => reasonOf(replica, token),
      (reason) => reason === 'user_revoked',
    )
  }
}
