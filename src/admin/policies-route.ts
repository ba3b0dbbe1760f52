import type { FastifyInstance } from 'fastify'
import type { LiveConfig } from '../config/config.ts'
import { describePolicies } from '../policy/description.ts'

/** What the route needs. */
export interface PoliciesRouteOptions {
  /** The configuration in force; another object after a reload. */
  readonly config: () => LiveConfig
  /** Version of the configuration in force, as the verdicts carry it. */
  readonly version: () => string
  readonly clock: () => number
}

/** Adds `GET /policies`: what is in force, each rule in words; the JSON of the command `policies`. */
export function addPoliciesRoute(app: FastifyInstance, options: PoliciesRouteOptions): void {
  const { config, version, clock } = options
  app.get('/policies', { logLevel: 'warn' }, (_request, reply) =>
    reply.header('Cache-Control', 'no-store').send({
      version: version(),
      policies: describePolicies(config(), clock()),
    }),
  )
}
