/** dev-entra as an authority that can be down and come back at the same address. */
import type { FastifyInstance } from 'fastify'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { buildDevEntra, type DevEntraOptions } from '../../src/dev-entra/app.ts'
import { order } from '../dev-entra/support.ts'
import type { Life } from './process.ts'

export const contoso = '11111111-1111-4111-8111-111111111111'
export const fabrikam = '22222222-2222-4222-8222-222222222222'
export const ordersId = '33333333-3333-4333-8333-333333333333'

export interface Authority {
  readonly origin: string
  readonly entra: FastifyInstance
  /** A fresh token; also while the authority is down. */
  token(persona: string, more?: object): Promise<string>
  /** Lets it be reached; it is down until then. */
  listen(): Promise<void>
  call(path: string, body?: object): Promise<void>
}

/** Makes an authority with an address of its own that is down yet. */
export async function createAuthority(
  t: Life,
  options: Partial<DevEntraOptions> = {},
): Promise<Authority> {
  const [port = 0] = await freePorts(1)
  const origin = `http://127.0.0.1:${port}`
  const entra = buildDevEntra({ now: Date.now, origin, ...options })
  t.after(() => entra.close())
  await entra.ready()
  return {
    origin,
    entra,
    token: async (persona, more = {}) => (await order(entra, { persona, ...more })).token,
    listen: async () => void (await entra.listen({ host: '127.0.0.1', port })),
    async call(path, body = {}) {
      const reply = await entra.inject({ method: 'POST', url: path, payload: body })
      if (reply.statusCode !== 200) throw new Error(reply.body)
    },
  }
}

/** An authority that is up. */
export async function startAuthority(
  t: Life,
  options: Partial<DevEntraOptions> = {},
): Promise<Authority> {
  const authority = await createAuthority(t, options)
  await authority.listen()
  return authority
}

/** The environment of the common case. */
export function environmentFor(authority: { readonly origin: string }) {
  return {
    ENTRA_AUTH_TENANT_ID: contoso,
    ENTRA_AUTH_AUDIENCE: `${ordersId},api://orders`,
    ENTRA_AUTH_AUTHORITY: authority.origin,
  }
}
