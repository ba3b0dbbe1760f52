import type { TestContext } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { buildDevEntra, type DevEntraOptions } from '../../src/dev-entra/app.ts'

export const origin = 'http://127.0.0.1:8400'
export const contoso = '11111111-1111-4111-8111-111111111111'
export const fabrikam = '22222222-2222-4222-8222-222222222222'
export const ordersId = '33333333-3333-4333-8333-333333333333'
export const mappedId = '88888888-8888-4888-8888-888888888888'
export const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5)
export const nowSeconds = nowMs / 1000

/** A dev-entra with a fixed clock that ends with the test. */
export function startDevEntra(t: TestContext, options: Partial<DevEntraOptions> = {}) {
  const app = buildDevEntra({ now: () => nowMs, ...options })
  t.after(() => app.close())
  return app
}

/** Claims with the types that Entra gives those which a test computes with. */
export interface Claims extends Record<string, unknown> {
  exp: number
  iat: number
  name: string
  uti: string
  groups: string[]
  scp: string
  xms_act_fct: string
  xms_sub_fct: string
  _claim_sources: { src1: { endpoint: string } }
}

export interface Issued {
  token: string
  header: Record<string, unknown>
  claims: Claims
}

/** Orders a token and reads it back from its text, not from the reply's copy. */
export async function order(app: FastifyInstance, body: object): Promise<Issued> {
  const reply = await app.inject({ method: 'POST', url: '/dev/token', payload: body })
  if (reply.statusCode !== 200) throw new Error(`${reply.statusCode} ${reply.body}`)
  return decode(reply.json().token)
}

export function decode(token: string): Issued {
  const [header = '', claims = ''] = token.split('.')
  const parse = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
  return { token, header: parse(header), claims: parse(claims) }
}

export async function post(app: FastifyInstance, url: string, body?: object) {
  return app.inject({ method: 'POST', url, ...(body ? { payload: body } : {}) })
}

export async function postForm(
  app: FastifyInstance,
  url: string,
  form: Record<string, string> | string,
) {
  return app.inject({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: new URLSearchParams(form).toString(),
  })
}

export async function getJson(app: FastifyInstance, url: string) {
  return (await app.inject(url)).json()
}
