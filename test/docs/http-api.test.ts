/** docs/openapi.yaml against real answers: each route, each status, headers and bodies. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { FastifyInstance } from 'fastify'
import { parse } from 'yaml'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { ids } from '../support/ids.ts'
import { callerKey, type Service, ask as send, startService } from '../support/service.ts'
import { cookieOf, host } from '../support/sessions.ts'
import { openBrowser, type SignInService, signInWith, startSignIn } from '../support/sign-in.ts'
import { v2User } from '../support/tokens.ts'

const listeners = ['verify', 'metrics', 'admin', 'signIn'] as const
type Listener = (typeof listeners)[number]

interface Header {
  readonly required?: boolean
  readonly schema: object
}
interface Response {
  readonly headers?: Readonly<Record<string, Header | { $ref: string }>>
  readonly content?: Readonly<Record<string, { schema: object }>>
}
interface Operation {
  readonly operationId: string
  readonly 'x-listeners': readonly Listener[]
  readonly responses: Readonly<Record<string, Response | { $ref: string }>>
}

const document = parse(readFileSync(new URL('../../docs/openapi.yaml', import.meta.url), 'utf8'))
const ajv = new Ajv2020({ strict: false, allErrors: true })
ajv.addSchema(document, 'api')

function resolve<Value>(value: Value | { $ref: string }): Value {
  if (typeof value !== 'object' || value === null || !('$ref' in value)) return value as Value
  const path = value.$ref.slice(2).split('/')
  return path.reduce((node: Record<string, unknown>, key) => node[key] as never, document) as Value
}

/** The problems of a value with a schema of the document. */
function problemsOf(schema: object, value: unknown): string {
  const inDocument = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"api#/'))
  return ajv.validate(inDocument, value) ? '' : ajv.errorsText()
}

const methods = ['get', 'post', 'delete'] as const
const operations = Object.entries(
  document.paths as Record<string, Record<string, Operation>>,
).flatMap(([path, item]) =>
  methods.flatMap((method) => {
    const operation = item[method]
    return operation ? [{ path, method, operation }] : []
  }),
)

/** The routes that a listener has, as `GET /path/{name}`. */
function routesOf(app: FastifyInstance): string[] {
  const parts: string[] = []
  return app
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', part = '', names] =
        /^([│ ]*)[├└]── (.*?)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? []
      parts.splice(indent.length / 4)
      parts.push(part)
      const path = parts
        .join('')
        .replace(/:(\w+)/g, '{$1}')
        .replace(/\/?\*/, '/{path}')
      return (names?.split(', ') ?? [])
        .filter((method) => method !== 'HEAD' && method !== 'OPTIONS')
        .map((method) => `${method} ${path}`)
    })
}

/** Opens the listeners that are not open yet. */
async function listen({ app }: Service): Promise<void> {
  for (const name of ['metrics', 'admin'] as const) {
    await app[name].listen({ host: '127.0.0.1', port: 0 })
  }
}

function portOf({ server }: FastifyInstance): number {
  return (server.address() as AddressInfo).port
}

describe('the document of the HTTP interface', () => {
  const cleanUps: (() => unknown)[] = []
  let open: Service
  let keyed: Service
  let dark: Service
  let people: SignInService
  const seen = new Set<string>()
  before(async () => {
    const list = createRevocationStore(undefined, () => open.time.nowMs)
    const kept = {
      ...list,
      add: async () => {},
      remove: async (_: unknown, id: string) => id === 't1',
    }
    const resource = { resource: 'https://api.example/orders' }
    open = await startService({ revocations: kept, policy: resource })
    const keys = { callerKeyFile: '/run/key', admin: { adminKeyFile: '/run/key' } }
    keyed = await startService({ config: keys })
    dark = await startService({ unstarted: true })
    people = await startSignIn()
    for (const service of [open, keyed, dark, people]) await listen(service)
    cleanUps.push(...[open, keyed, dark, people].map((service) => () => service.close()))
  })
  after(async () => {
    for (const cleanUp of cleanUps) await cleanUp()
  })

  interface Ask {
    readonly headers?: Readonly<Record<string, string>>
    readonly payload?: object
    readonly query?: string
    readonly path?: string
  }

  /** Asks one route, and compares what comes back with the document. */
  async function ask(
    service: Service,
    listener: Listener,
    route: string,
    status: number,
    { headers = {}, payload, query = '', path }: Ask = {},
  ): Promise<string> {
    const [method = '', template = ''] = route.split(' ')
    const url =
      (path ?? template.replace('{policy}', 'default').replace('{path}', 'orders')) + query
    const app = service.app[listener]
    assert.ok(app)
    const body = payload && JSON.stringify(payload)
    const reply = await send({ port: portOf(app) }, url, {
      method,
      headers: {
        host: listener === 'signIn' ? host : '127.0.0.1',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body }),
    })
    assert.equal(reply.status, status, `${listener} ${route}: ${reply.body.slice(-300)}`)
    const found = operations.find((one) => `${one.method.toUpperCase()} ${one.path}` === route)
    assert.ok(found, `${route} is not in the document`)
    const responses = found.operation.responses
    const known = responses[status] ?? responses.default
    assert.ok(known, `${route} has no ${status}`)
    seen.add(`${listener} ${route} ${responses[status] ? status : 'default'}`)
    const response = resolve<Response>(known)
    for (const [name, reference] of Object.entries(response.headers ?? {})) {
      const header = resolve<Header>(reference)
      const value = reply.headers[name.toLowerCase()]
      if (value === undefined) assert.ok(!header.required, `${route} ${status} lacks ${name}`)
      else
        assert.equal(
          problemsOf(header.schema, String(value)),
          '',
          `${route} ${status} ${name}: ${value}`,
        )
    }
    const type = String(reply.headers['content-type'] ?? '').split(';', 1)[0] ?? ''
    if (reply.body === '') return ''
    const content = response.content?.[type]
    assert.ok(content, `${route} ${status} is ${type}`)
    const value = type === 'application/json' ? JSON.parse(reply.body) : reply.body
    assert.equal(problemsOf(content.schema, value), '', `${route} ${status}: ${reply.body}`)
    return String(reply.headers.etag ?? '')
  }

  const bearer = (token = v2User()) => ({ authorization: `Bearer ${token}` })
  const key = { authorization: `Bearer ${callerKey}` }

  it('is one of OpenAPI 3.1 whose references lead somewhere, each operation with a name of its own', () => {
    assert.equal(document.openapi, '3.1.0')
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)]
    assert.ok(references.length > 50)
    for (const [, $ref = ''] of references) assert.ok(resolve({ $ref }), $ref)
    const names = operations.map(({ operation }) => operation.operationId)
    assert.equal(new Set(names).size, names.length)
  })

  it('has each route of each listener, and no other', async () => {
    for (const listener of listeners) {
      const app = people.app[listener]
      assert.ok(app)
      await app.ready()
      const documented = operations
        .filter(({ operation }) => operation['x-listeners'].includes(listener))
        .map(({ path, method }) => `${method.toUpperCase()} ${path}`)
      assert.deepEqual(routesOf(app).toSorted(), documented.toSorted(), listener)
    }
  })

  it('says what the verify listener answers', async () => {
    for (const route of ['GET /verify', 'GET /verify/{policy}']) {
      await ask(open, 'verify', route, 200, { headers: bearer() })
      await ask(open, 'verify', route, 400, { headers: { authorization: 'Bearer two words' } })
      await ask(open, 'verify', route, 401)
      await ask(open, 'verify', route, 403, { headers: bearer(v2User({ scp: 'Other' })) })
      await ask(people, 'verify', route, 401, { headers: { 'x-forwarded-host': host } })
      const session = { 'x-entra-auth-session': cookieOf(), 'x-forwarded-host': host }
      await ask(people, 'verify', route, 200, { headers: session })
      await ask(dark, 'verify', route, 503, { headers: bearer() })
    }
    await ask(open, 'verify', 'GET /verify/{policy}', 404, { path: '/verify/nothing' })
    const etag = await ask(open, 'verify', 'GET /revocations', 200)
    await ask(open, 'verify', 'GET /revocations', 304, { headers: { 'if-none-match': etag } })
    await ask(keyed, 'verify', 'GET /revocations', 403)
    await ask(keyed, 'verify', 'GET /revocations', 200, {
      headers: { 'x-entra-auth-key': callerKey },
    })
    const metadata = '/.well-known/oauth-protected-resource'
    await ask(open, 'verify', `GET ${metadata}/{path}`, 200)
    await ask(open, 'verify', `GET ${metadata}/{path}`, 404, { path: `${metadata}/nothing` })
    await ask(open, 'verify', `GET ${metadata}`, 404)
    const root = await startService({ policy: { resource: 'https://api.example/' } })
    cleanUps.push(() => root.close())
    await listen(root)
    await ask(root, 'verify', `GET ${metadata}`, 200)
  })

  it('says what health and metrics answer', async () => {
    for (const listener of ['verify', 'metrics'] as const) {
      await ask(open, listener, 'GET /livez', 200)
      await ask(open, listener, 'GET /readyz', 200)
      await ask(dark, listener, 'GET /readyz', 503)
    }
    await ask(open, 'metrics', 'GET /metrics', 200)
  })

  it('says what the admin listener answers', async () => {
    for (const path of ['/', '/policies', '/explain/{policy}', '/page/explain/{policy}']) {
      await ask(open, 'admin', `GET ${path}`, 200)
      await ask(keyed, 'admin', `GET ${path}`, 403)
      await ask(keyed, 'admin', `GET ${path}`, 200, {
        headers: { ...key, 'x-entra-auth-token': `Bearer ${v2User()}` },
      })
    }
    await ask(keyed, 'admin', 'GET /', 403, { headers: { accept: 'text/html' } })
    await ask(open, 'admin', 'GET /explain/{policy}', 404, { path: '/explain/nothing' })
    await ask(open, 'admin', 'GET /page/explain/{policy}', 404, { path: '/page/explain/nothing' })
    for (const path of ['/page.js', '/page.css']) {
      await ask(open, 'admin', `GET ${path}`, 200)
      await ask(open, 'admin', `GET ${path}`, 403, { headers: { host: 'evil.example' } })
    }
    const revocations = 'revocations'
    await ask(open, 'admin', `GET /${revocations}`, 200)
    await ask(keyed, 'admin', `GET /${revocations}`, 403)
    const one = { kind: 'tenant', id: ids.fabrikam, reason: 'test' }
    await ask(open, 'admin', `POST /${revocations}`, 201, { payload: one })
    await ask(open, 'admin', `POST /${revocations}`, 400, { payload: { kind: 'x' } })
    await ask(keyed, 'admin', `POST /${revocations}`, 403, { payload: one })
    await ask(keyed, 'admin', `POST /${revocations}`, 409, { payload: one, headers: key })
    const query = (id: string) => ({ query: `?kind=token&id=${id}` })
    await ask(open, 'admin', `DELETE /${revocations}`, 204, query('t1'))
    await ask(open, 'admin', `DELETE /${revocations}`, 404, query('t2'))
    await ask(open, 'admin', `DELETE /${revocations}`, 400, { query: '?kind=x' })
    await ask(keyed, 'admin', `DELETE /${revocations}`, 403, query('t1'))
  })

  it('says what the sign-in listener answers', async () => {
    const https = { 'x-forwarded-proto': 'https', 'x-forwarded-host': host }
    const cookie = {
      ...https,
      cookie: `__Host-entra-session=${cookieOf()}`,
      'sec-fetch-site': 'same-origin',
    }
    const navigation = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }
    await ask(people, 'signIn', 'GET /oauth2/start', 302, { headers: https })
    const unknown = { headers: { host: 'evil.example' } }
    await ask(people, 'signIn', 'GET /oauth2/start', 421, unknown)
    await ask(people, 'signIn', 'GET /oauth2/callback', 400, { headers: https })
    const browser = openBrowser(people)
    const last = await signInWith(people, browser)
    assert.equal(last.status, 302)
    seen.add('signIn GET /oauth2/callback 302')
    await ask(people, 'signIn', 'GET /oauth2/signed_out', 200, { headers: https })
    await ask(people, 'signIn', 'GET /oauth2/userinfo', 200, { headers: cookie })
    await ask(people, 'signIn', 'GET /oauth2/userinfo', 401, { headers: https })
    const auth = 'GET /oauth2/auth'
    await ask(people, 'signIn', auth, 202, { headers: cookie })
    await ask(people, 'signIn', auth, 401, { headers: https })
    await ask(people, 'signIn', auth, 302, {
      headers: { ...https, ...navigation, 'sec-fetch-site': 'none' },
      query: '?redirect=true',
    })
    const foreign = { ...cookie, 'sec-fetch-site': 'cross-site', 'x-forwarded-method': 'POST' }
    await ask(people, 'signIn', auth, 403, { headers: foreign })
    await ask(people, 'signIn', auth, 404, { headers: cookie, query: '?policy=nothing' })
    const logout = 'GET /oauth2/frontchannel_logout'
    await ask(people, 'signIn', logout, 400, { headers: https })
    const sid = { headers: https, query: '?sid=00000000-0000-4000-8000-000000000001' }
    for (let call = 1; call <= 120; call++) await ask(people, 'signIn', logout, 200, sid)
    await ask(people, 'signIn', logout, 429, sid)
    // The last ones, since they end the session.
    await ask(people, 'signIn', 'GET /oauth2/sign_out', 200, {
      headers: { ...https, 'sec-fetch-site': 'cross-site' },
    })
    await ask(people, 'signIn', 'GET /oauth2/sign_out', 303, {
      headers: { ...cookie, ...navigation },
    })
    await ask(people, 'signIn', 'POST /oauth2/sign_out', 303, { headers: cookie })
  })

  it('lists no status that was not seen here', () => {
    const listed = operations.flatMap(({ path, method, operation }) =>
      Object.keys(operation.responses)
        .filter((status) => status !== 'default')
        .map((status) => `${method.toUpperCase()} ${path} ${status}`),
    )
    const answered = new Set([...seen].map((text) => text.slice(text.indexOf(' ') + 1)))
    assert.deepEqual(
      listed.filter((text) => !answered.has(text)),
      [],
    )
  })
})
