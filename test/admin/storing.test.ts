import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { ask, type Service, startService } from '../support/service.ts'

let service: Service
before(async () => {
  service = await startService({
    policy: { resource: 'https://api.contoso.example' },
  })
  for (const listener of [service.app.metrics, service.app.admin]) {
    await listener.listen({ host: '127.0.0.1', port: 0 })
  }
})
after(() => service.close())

const portOf = (listener: Service['app']['admin']) =>
  (listener.server.address() as AddressInfo).port

describe('an answer that a cache could keep', () => {
  it('is none, at any listener, with any method and status', async () => {
    const { app } = service
    const listeners = [
      [portOf(app.metrics), ['/metrics', '/livez', '/readyz', '/nowhere', '/%']],
      [
        portOf(app.admin),
        ['/', '/page.js', '/page.css', '/policies', '/revocations', '/explain/default', '/x', '/%'],
      ],
      [
        service.port,
        [
          '/verify/default',
          '/verify/nowhere',
          '/verify/%ff',
          '/revocations',
          '/livez',
          '/.well-known/oauth-protected-resource',
          '/.well-known/nothing',
        ],
      ],
    ] as const
    for (const [port, paths] of listeners) {
      for (const path of paths) {
        for (const method of ['GET', 'HEAD', 'POST', 'OPTIONS', 'DELETE']) {
          const headers = { Host: 'localhost' }
          const reply = await ask({ port }, path, { method, headers })
          const what = `${method} ${path} ${reply.status}`
          assert.match(reply.headers['cache-control'] ?? '', /^no-store$/, what)
        }
      }
    }
  })
})
