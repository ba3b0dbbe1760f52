import type { FastifyInstance } from 'fastify'
import { isLoopback } from '../loopback.ts'
import type { DevEntraContext } from './context.ts'
import { findClient } from './directory.ts'
import { resolveAuthority } from './discovery.ts'
import { EntraError } from './entra-error.ts'
import { type Parameters, readParameters } from './parameters.ts'
import { findPersona } from './personas.ts'
import { checkResource, readScopes } from './scope-request.ts'
import type { SignIns } from './sign-ins.ts'

const defaultPersona = 'alice'
const s256Challenge = /^[A-Za-z0-9_-]{43}$/

/**
 * Adds the v2.0 authorization endpoint: it shows no page, signs in the persona of `login_hint`
 * (default alice) and redirects at once, to loopback addresses only.
 */
export function addAuthorizeEndpoint(
  app: FastifyInstance,
  context: DevEntraContext,
  signIns: SignIns,
): void {
  app.get<{ Params: { tenant: string } }>(
    '/:tenant/oauth2/v2.0/authorize',
    { config: { devEntraEndpoint: 'authorize' } },
    (request, reply) => {
      const parameters = readParameters(request.query)
      // Nothing is sent to an address before client and address are known to be good.
      const redirectUri = checkClient(parameters)
      const target = new URL(redirectUri)
      const state = parameters.get('state')
      if (state !== undefined) target.searchParams.set('state', state)
      try {
        const { segment } = resolveAuthority(request.params.tenant, context)
        target.searchParams.set(
          'code',
          signIns.add(signIn(parameters, redirectUri, segment, context)),
        )
      } catch (failure) {
        if (!(failure instanceof EntraError)) throw failure
        target.searchParams.set('error', failure.error)
        target.searchParams.set('error_description', failure.message)
      }
      return reply.header('cache-control', 'no-store').redirect(target.href)
    },
  )
}

function checkClient(parameters: Parameters): string {
  const clientId = parameters.require('client_id')
  if (!findClient(clientId)) {
    throw new EntraError(
      400,
      'unauthorized_client',
      700016,
      `Application with identifier '${clientId}' was not found in the directory.`,
    )
  }
  const redirectUri = parameters.require('redirect_uri')
  const url = URL.canParse(redirectUri) ? new URL(redirectUri) : undefined
  const registered =
    url && ['http:', 'https:'].includes(url.protocol) && isLoopback(url.hostname) && url.hash === ''
  if (registered) return redirectUri
  throw new EntraError(
    400,
    'invalid_request',
    50011,
    `The redirect URI '${redirectUri}' specified in the request does not match the redirect URIs configured for the application '${clientId}': only loopback addresses are.`,
  )
}

function signIn(
  parameters: Parameters,
  redirectUri: string,
  segment: string,
  { apis }: DevEntraContext,
) {
  const clientId = parameters.require('client_id').toLowerCase()
  const responseType = parameters.require('response_type')
  if (responseType !== 'code') {
    throw new EntraError(
      400,
      'unsupported_response_type',
      70005,
      `response_type '${responseType}' is not enabled for the application.`,
    )
  }
  const scope = parameters.require('scope')
  const { audience } = readScopes(scope, apis, clientId)
  checkResource(parameters.get('resource'), audience, apis)
  const codeChallenge = readChallenge(parameters, clientId)
  const hint = parameters.get('login_hint') ?? defaultPersona
  const persona = findPersona(hint)
  if (persona?.kind !== 'user') {
    throw new EntraError(
      400,
      'access_denied',
      50034,
      `The user account ${hint} does not exist in the directory.`,
    )
  }
  const nonce = parameters.get('nonce')
  return {
    persona: persona.name,
    tenantId: segment === 'common' || segment === 'organizations' ? persona.tenant.id : segment,
    clientId,
    redirectUri,
    scope,
    ...(codeChallenge === undefined ? {} : { codeChallenge }),
    ...(nonce === undefined ? {} : { nonce }),
  }
}

function readChallenge(parameters: Parameters, clientId: string): string | undefined {
  const codeChallenge = parameters.get('code_challenge')
  if (codeChallenge === undefined) {
    if (findClient(clientId)?.secret !== undefined) return undefined
    throw new EntraError(
      400,
      'invalid_request',
      9002325,
      'Proof Key for Code Exchange is required for cross-origin authorization code redemption.',
    )
  }
  if (parameters.get('code_challenge_method') !== 'S256' || !s256Challenge.test(codeChallenge)) {
    throw new EntraError(
      400,
      'invalid_request',
      501491,
      'Invalid size or method of Code_Challenge parameter: dev-entra takes S256 only.',
    )
  }
  return codeChallenge
}
