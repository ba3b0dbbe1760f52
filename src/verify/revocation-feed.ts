import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { Authorities } from '../keys/authority.ts'
import type { Revocation } from '../revocation/revocation.ts'
import type { RevocationList } from '../revocation/revocation-list.ts'
import { isRightKey } from './caller.ts'
import { openChallenges } from './challenge.ts'
import { readCorrelation } from './correlation.ts'
import { readRequest } from './request.ts'
import { sendRefusal } from './route.ts'
import type { Rules } from './rules.ts'

/** What the feed is made of. */
export interface RevocationFeedOptions {
  readonly rules: () => Rules
  readonly revocations: () => RevocationList
  readonly clock: () => number
}

/** No verdict is kept for longer, so a key that went an hour ago is in no cache any more. */
const retiredKeySeconds = 3_600

/**
 * Adds `GET /revocations`: what HAProxy's cache must not admit. A state and not a log, so that any
 * replica may answer any poll. The version is that of the rules, which each verdict carries too.
 */
export function addRevocationFeed(app: FastifyInstance, options: RevocationFeedOptions): void {
  app.get('/revocations', (request, reply) => {
    const rules = options.rules()
    if (!isRightKey(readRequest(request.raw.rawHeaders).callerKey, rules.callerKeys)) {
      const { requestId } = readCorrelation(request.headers)
      return sendRefusal(reply, { allow: false, failure: 'caller_not_allowed' }, requestId)
    }
    const form = request.headers['x-entra-auth-feed'] === '2' ? 2 : 1
    const body = createFeed(rules, options.revocations(), options.clock() / 1000, form)
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
    reply.header('ETag', etag).header('Cache-Control', 'no-store')
    if (request.headers['if-none-match'] === etag) return reply.code(304).send()
    return reply.type('application/json').send(body)
  })
}

/** Form 1 is what actions read that ask for no form; form 2 tells them the challenges too. */
function createFeed(rules: Rules, list: RevocationList, nowSeconds: number, form: 1 | 2): string {
  const revocations = [...list.entries, ...retiredKeys(rules.authorities, nowSeconds)].filter(
    // An action that knows no sessions would not understand a list with one.
    ({ kind, until }) => kind !== 'session' && until > nowSeconds,
  )
  return JSON.stringify({
    version: rules.version,
    revocations: revocations.map(({ kind, id, before, until }) => ({ kind, id, before, until })),
    ...(form === 2 && { challenges: openChallenges(rules, nowSeconds * 1000) }),
  })
}

/** Keys that their authority withdrew, in the form of revocations. */
function retiredKeys(authorities: Authorities, nowSeconds: number): readonly Revocation[] {
  const sinceMs = (nowSeconds - retiredKeySeconds) * 1000
  return [...authorities.values()]
    .flatMap((authority) => authority.retiredKeys(sinceMs))
    .map(({ id, atMs }) => {
      const before = Math.floor(atMs / 1000)
      return { kind: 'key', id, before, until: before + retiredKeySeconds }
    })
}
