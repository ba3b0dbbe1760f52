import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { run } from '../drift/run.ts'

const { stdout, code } = await run(['schema'])
const schema = JSON.parse(stdout)
// Strict: an editor's validator must understand every keyword.
const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(schema)

const whole = `
listen: { host: 127.0.0.1, port: 8080, tls: { certificateFile: /run/tls.crt, keyFile: /run/tls.key } }
overload: { maxEventLoopLagMs: 250 }
log: { refusalsPerSecond: 10, audit: { destination: stdout } }
metrics: { host: 127.0.0.1, port: 9090 }
admin: { host: 127.0.0.1, port: 9091, adminKeyFile: /run/secrets/admin-key }
callerKeyFile: /run/secrets/caller-key
keyStore: /var/lib/haproxy-entra-auth/keys
cloud: public
tenants:
  contoso: 11111111-1111-4111-8111-111111111111
  customers: { id: 22222222-2222-4222-8222-222222222222, authority: https://customers.ciamlogin.com/ }
  mapped: { id: 77777777-7777-4777-8777-777777777777, appId: 88888888-8888-4888-8888-888888888888 }
clockSkewSeconds: 300
identityHeaders: x-auth-request
policies:
  orders:
    tenants: [contoso]
    audiences: [api://orders, 33333333-3333-4333-8333-333333333333]
    resource: https://api.contoso.com/orders
    cacheSeconds: 30
    maxTokenLifetimeMinutes: 1500
    allow:
      - { actor: user, scopes: [Orders.Read] }
      - { actor: user, roles: [Orders.Admin], guests: false, authContext: c1 }
      - { actor: user, groups: [44444444-4444-4444-8444-444444444444] }
      - { actor: app, roles: [Orders.Process], clients: [55555555-5555-4555-8555-555555555555] }
      - { actor: agent, scopes: [Orders.Read] }
    deny:
      - { groups: [66666666-6666-4666-8666-666666666666] }
`

/** The file with one piece replaced. */
function changed(piece: string, by: string): unknown {
  assert.equal(whole.split(piece).length, 2, piece)
  return parse(whole.replace(piece, by))
}

describe('haproxy-entra-auth schema', () => {
  it('prints a schema that names its draft and has a title', () => {
    assert.equal(code, 0)
    assert.equal(schema.$schema, 'http://json-schema.org/draft-07/schema#')
    assert.equal(schema.title, 'haproxy-entra-auth configuration')
    assert.deepEqual(Object.keys(schema).slice(0, 2), ['$schema', 'title'])
  })

  it('accepts a file with every key', () => {
    assert.equal(validate(parse(whole)), true, JSON.stringify(validate.errors))
  })

  it('accepts a map of headers', () => {
    assert.equal(
      validate(changed('identityHeaders: x-auth-request', 'identityHeaders: { X-User: oid }')),
      true,
    )
  })

  const refused: readonly [string, string, string][] = [
    ['an unknown key', 'cloud: public', 'clowd: public'],
    ['a key in the wrong place', '    cacheSeconds: 30', '    port: 30'],
    ['a port in quotes', 'port: 8080', 'port: "8080"'],
    ['a GUID that is none', '44444444-4444-4444-8444-444444444444', 'admins'],
    ['an unknown actor', 'actor: agent', 'actor: robot'],
    ['an unknown cloud', 'cloud: public', 'cloud: germany'],
    ['an authentication context that is none', 'authContext: c1', 'authContext: c100'],
  ]
  for (const [name, piece, by] of refused) {
    it(`refuses ${name}`, () => {
      assert.equal(validate(changed(piece, by)), false)
    })
  }

  it('refuses an empty allow', () => {
    const file = parse(whole)
    file.policies.orders.allow = []
    assert.equal(validate(file), false)
  })

  it('is the one that the documentation tells how to use', () => {
    const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
    assert.match(page, /haproxy-entra-auth schema > /)
    assert.match(page, /yaml-language-server: \$schema=/)
  })
})
