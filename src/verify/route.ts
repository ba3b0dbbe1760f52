import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type FailureCode, failures } from '../failure.ts'
import type { HeaderSet } from '../identity/headers.ts'
import type { Policy } from '../policy/compile.ts'
import type { AccessToken } from '../token/claims.ts'
import { createChallenge, createRefusalBody } from './challenge.ts'
import { type Correlation, readCorrelation } from './correlation.ts'
import type { Refusal } from './outcome.ts'
import { readRequest } from './request.ts'
import type { ResourceMetadata } from './resource-metadata.ts'
import type { Verdict, Verifier } from './verifier.ts'

/** Version of the contract between this service and the action in HAProxy. */
export const contractVersion = '1'

/** What the route needs besides the verifier. */
export interface VerifyRouteOptions {
  readonly verifier: Verifier
  readonly policies: ReadonlyMap<string, Policy>
  readonly resources: ReadonlyMap<string, ResourceMetadata>
  readonly headerSet: HeaderSet
  /** Hash of everything in the configuration that can change a verdict. */
  readonly version: string
  readonly callerKey: string | undefined
  readonly clock: () => number
  readonly isStopping: () => boolean
}

/** Adds `GET /verify` and `GET /verify/{policy}`. */
export function addVerifyRoutes(app: FastifyInstance, options: VerifyRouteOptions): void {
  const { verifier, policies } = options
  const isCaller = createCallerCheck(options.callerKey)
  const replyHeaders = [
    'X-Entra-Auth-Verdict',
    'allow',
    'X-Entra-Auth-Contract',
    contractVersion,
    'X-Entra-Auth-Version',
    options.version,
    'X-Entra-Auth-Headers',
    options.headerSet.names.join(','),
    'Vary',
    'Authorization',
    'Content-Length',
    '0',
  ]

  function answer(policyName: string, request: FastifyRequest, reply: FastifyReply) {
    const verifyRequest = readRequest(request.raw.rawHeaders)
    if (!isCaller(verifyRequest.callerKey)) {
      return refuse(request, reply, { allow: false, failure: 'caller_not_allowed' })
    }
    const policy = policies.get(policyName)
    if (!policy) return refuse(request, reply, { allow: false, failure: 'unknown_policy' })
    const verdict = verifier.verify(policy, verifyRequest)
    if (!(verdict instanceof Promise)) return send(policy, verdict, request, reply)
    return verdict.then((late) => send(policy, late, request, reply))
  }

  function send(policy: Policy, verdict: Verdict, request: FastifyRequest, reply: FastifyReply) {
    if (verdict.allow) return allow(reply, verdict.headers, verdict.maxAgeSeconds)
    if (options.clock() < policy.reportOnlyUntilMs) {
      return report(policy, verdict, request, reply)
    }
    return refuse(request, reply, verdict, policy)
  }

  /** Written past Fastify's reply, whose header handling costs more than the verdict itself. */
  function allow(reply: FastifyReply, headers: readonly string[], maxAgeSeconds: number) {
    reply.hijack()
    reply.raw.writeHead(200, [
      'Cache-Control',
      `private, max-age=${maxAgeSeconds}`,
      ...replyHeaders,
      ...headers,
      ...(options.isStopping() ? ['Connection', 'close'] : []),
    ])
    reply.raw.end()
  }

  /** A refusal that is only reported yet: an allow without any identity. */
  function report(
    policy: Policy,
    refusal: Refusal & { readonly token?: AccessToken },
    request: FastifyRequest,
    reply: FastifyReply,
  ) {
    log(request, readCorrelation(request.headers), refusal, policy.name, 'refusal only reported')
    const empty = options.headerSet.names.flatMap((name) => [name, ''])
    allow(reply, ['X-Entra-Auth-Report', refusal.failure, ...empty], 0)
  }

  function refuse(
    request: FastifyRequest,
    reply: FastifyReply,
    refusal: Refusal & { readonly token?: AccessToken },
    policy?: Policy,
  ) {
    const correlation = readCorrelation(request.headers)
    log(request, correlation, refusal, policy?.name)
    const metadata = policy && options.resources.get(policy.name)
    return sendRefusal(reply, refusal, correlation.requestId, policy?.name, metadata?.url)
  }

  app.get('/verify', (request, reply) => answer('default', request, reply))
  app.get<{ Params: { policy: string } }>('/verify/:policy', (request, reply) =>
    answer(request.params.policy, request, reply),
  )
}

/** Sends a refusal in the one form that all of them have. */
export function sendRefusal(
  reply: FastifyReply,
  refusal: Refusal,
  requestId: string,
  policy?: string,
  resourceMetadata?: string,
): FastifyReply {
  const { status } = failures[refusal.failure]
  const challenge = createChallenge(refusal, resourceMetadata)
  if (challenge) reply.header('WWW-Authenticate', challenge)
  if (status === 503) reply.header('Retry-After', '2')
  if (status === 405) reply.header('Allow', 'GET, HEAD')
  // A body that nobody reads would be taken for the next request on this connection.
  if (refusal.failure === 'body_not_allowed') reply.header('Connection', 'close')
  return reply
    .code(status)
    .header('X-Entra-Auth-Verdict', status === 503 ? 'unavailable' : 'deny')
    .header('X-Entra-Auth-Contract', contractVersion)
    .header('X-Entra-Auth-Reason', refusal.failure)
    .header('Cache-Control', 'no-store')
    .header('Content-Type', 'application/json; charset=utf-8')
    .send(createRefusalBody(refusal.failure, policy, requestId))
}

/** One line for each refusal: reason and ids, never anything of an unverified token. */
function log(
  request: FastifyRequest,
  correlation: Correlation,
  refusal: { readonly failure: FailureCode; readonly token?: AccessToken },
  policy: string | undefined,
  message = 'refused',
): void {
  const { token } = refusal
  request.server.log.info(
    {
      reason: refusal.failure,
      policy,
      ...correlation,
      ...(token && {
        tenant: token.tenantId,
        user: token.userId,
        client: token.clientId,
        actor: token.actor,
        tokenId: token.tokenId,
      }),
    },
    message,
  )
}

/** Compares the caller key in constant time; hashes have one length, so none leaks. */
function createCallerCheck(callerKey: string | undefined): (key: string | undefined) => boolean {
  if (callerKey === undefined) return () => true
  const expected = sha256(callerKey)
  return (key) => key !== undefined && timingSafeEqual(sha256(key), expected)
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
