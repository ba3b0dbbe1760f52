import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Config } from '../../src/config/config.ts'
import { planReload } from '../../src/config/restart.ts'
import { configOf } from './fixture.ts'

const config = await configOf(`
tenants: { contoso: 11111111-1111-4111-8111-111111111111 }
policies: { orders: { audiences: [api://orders], allow: [{ actor: app, roles: any }] } }
`)
const tls = { certificate: 'c', key: 'k', notAfterMs: 1 }
const everywhere: Config = {
  ...config,
  admin: { host: '0.0.0.0', port: 9091, key: 'the-admin-key-000' },
}

const waiting: readonly [string, Partial<Config>][] = [
  ['listen.port', { listen: { ...config.listen, port: 1 } }],
  ['listen.tls', { listen: { ...config.listen, tls } }],
  ['metrics.port', { metrics: { ...config.metrics, port: 1 } }],
  ['admin.host', { admin: { ...config.admin, host: '127.0.0.2' } }],
  ['keyStore', { keyStore: '/k' }],
  ['revocationFile', { revocationFile: '/r' }],
  ['log.audit.destination', { log: { ...config.log, audit: 'stdout' } }],
]

describe('a reload', () => {
  for (const [name, change] of waiting) {
    it(`names ${name} as waiting, and keeps the old value`, () => {
      const plan = planReload(config, { ...config, ...change })
      assert.deepEqual(plan.waiting, [name])
      assert.deepEqual(plan.config, config)
    })
  }

  it('applies keys, certificate, limits and policies, and reports nothing as waiting', () => {
    const started = { ...config, listen: { ...config.listen, tls } }
    const next: Config = {
      ...started,
      listen: { ...config.listen, tls: { ...tls, key: 'other' } },
      admin: { ...config.admin, key: 'a', nextKey: 'b' },
      callerKey: 'c',
      nextCallerKey: 'd',
      overload: { maxEventLoopLagMs: 1 },
      log: { refusalsPerSecond: 1 },
      policies: [],
    }
    assert.deepEqual(planReload(started, next), { config: next, waiting: [] })
  })

  it('leaves the admin key on a listener that is not on loopback, wherever the next one is to be', () => {
    const plan = planReload(everywhere, { ...config, admin: { host: '127.0.0.1', port: 9091 } })
    assert.deepEqual(plan.config.admin, everywhere.admin)
    assert.deepEqual(plan.waiting, ['admin.host', 'admin.adminKeyFile'])
  })

  it('takes the admin key away on loopback', () => {
    const started = { ...config, admin: { ...config.admin, key: 'the-admin-key-000' } }
    assert.deepEqual(planReload(started, config).config, config)
  })
})
