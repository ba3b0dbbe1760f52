/**
 * The servers that are compared, each in a process of its own: `node bench/service/targets.ts NAME
 * PORT`. All of them are Fastify with the settings of the service.
 */
import { createPublicKey, verify } from 'node:crypto'
import fastify from 'fastify'
import { pino } from 'pino'
import { buildApp } from '../../src/app.ts'
import type { Config } from '../../src/config/config.ts'
import { createHttp } from '../../src/keys/http.ts'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { benchAudience, benchTenant, ensureTokens, startAuthority } from '../tokens.ts'

const [name, port] = process.argv.slice(2)
const listen = { host: '127.0.0.1', port: Number(port) }
// Made by the program that starts this one.
const tokens = await ensureTokens(1)

if (name === 'bare' || name === 'crypto-verify') {
  const app = fastify()
  const key = createPublicKey(tokens.publicKeyPem)
  app.get('/verify/:policy', (request, reply) => {
    if (name === 'crypto-verify') {
      const token = (request.headers.authorization ?? '').slice(7)
      const dot = token.lastIndexOf('.')
      const signature = Buffer.from(token.slice(dot + 1), 'base64url')
      const good = verify('RSA-SHA256', Buffer.from(token.slice(0, dot)), key, signature)
      if (!good) return reply.code(401).send()
    }
    return reply.send('')
  })
  await app.listen(listen)
} else {
  const authority = await startAuthority(tokens)
  const app = buildApp(benchConfig(authority), {
    clock: Date.now,
    random: Math.random,
    schedule: () => () => {},
    http: createHttp(),
    revocations: createRevocationStore(undefined, Date.now),
    log: pino({ level: 'silent' }),
  })
  await app.start()
  app.verify.get('/bare', (_request, reply) => reply.send(''))
  await app.verify.listen(listen)
}

function benchConfig(authority: string): Config {
  return {
    listen,
    metrics: listen,
    admin: listen,
    overload: { maxEventLoopLagMs: 250 },
    log: { refusalsPerSecond: 10 },
    clockSkewSeconds: 300,
    identityHeaders: 'x-auth-request',
    tenants: [{ name: 'bench', id: benchTenant, authority }],
    policies: [
      {
        name: 'orders',
        tenants: [benchTenant],
        audiences: [benchAudience],
        cacheSeconds: 30,
        maxTokenLifetimeMinutes: 1500,
        groups: 'named',
        requireIdtyp: false,
        allow: [{ actor: 'user', scopes: ['Orders.Read'] }],
        deny: [],
      },
    ],
  }
}

// An orderly exit, so that `node --cpu-prof` writes its profile.
process.once('SIGTERM', () => process.exit(0))
