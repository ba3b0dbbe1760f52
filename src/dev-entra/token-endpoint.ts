import { createHash } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { DevEntraContext } from './context.ts'
import { type ClientRegistration, findClient, sharedAuthorities } from './directory.ts'
import { resolveAuthority } from './discovery.ts'
import { EntraError } from './entra-error.ts'
import { type Parameters, readParameters } from './parameters.ts'
import { checkResource, findApi, readScopes } from './scope-request.ts'
import type { SignIns } from './sign-ins.ts'

type TokenRequest = FastifyRequest<{ Params: { tenant: string } }>

interface Grant {
  readonly parameters: Parameters
  readonly client: ClientRegistration
  readonly authenticated: boolean
  /** Path segment of the authority. */
  readonly segment: string
}

/** Adds the token endpoints: client credentials (v1.0 and v2.0) and authorization code (v2.0). */
export function addTokenEndpoint(
  app: FastifyInstance,
  context: DevEntraContext,
  signIns: SignIns,
): void {
  app.post<{ Params: { tenant: string } }>(
    '/:tenant/oauth2/v2.0/token',
    { config: { devEntraEndpoint: 'token' } },
    (request, reply) => {
      reply.headers({ 'cache-control': 'no-store', pragma: 'no-cache' })
      const grant = readGrant(request, context)
      const grantType = grant.parameters.require('grant_type')
      if (grantType === 'client_credentials') {
        return grantToClient(grant, readDefaultScope(grant, context), context)
      }
      if (grantType === 'authorization_code') return grantToUser(grant, signIns, context)
      throw refuseGrantType(grantType)
    },
  )
  if (context.flavour === 'external-id') return
  app.post<{ Params: { tenant: string } }>(
    '/:tenant/oauth2/token',
    { config: { devEntraEndpoint: 'token' } },
    async (request, reply) => {
      reply.headers({ 'cache-control': 'no-store', pragma: 'no-cache' })
      const grant = readGrant(request, context)
      const grantType = grant.parameters.require('grant_type')
      if (grantType !== 'client_credentials') throw refuseGrantType(grantType)
      const resource = grant.parameters.require('resource')
      const granted = await grantToClient(grant, resource, context)
      const expiresOn = Math.floor(context.now() / 1000) + granted.expires_in
      // The v1.0 endpoint writes its numbers as text.
      return {
        token_type: 'Bearer',
        expires_in: String(granted.expires_in),
        ext_expires_in: String(granted.ext_expires_in),
        expires_on: String(expiresOn),
        not_before: String(Math.floor(context.now() / 1000) - 300),
        resource,
        access_token: granted.access_token,
      }
    },
  )
}

function readGrant(request: TokenRequest, context: DevEntraContext): Grant {
  const { segment } = resolveAuthority(request.params.tenant, context)
  const parameters = readParameters(request.body)
  const basic = readBasicCredentials(request.headers.authorization)
  const clientId = basic?.clientId ?? parameters.require('client_id')
  const client = findClient(clientId)
  if (!client) {
    throw new EntraError(
      400,
      'unauthorized_client',
      700016,
      `Application with identifier '${clientId}' was not found in the directory.`,
    )
  }
  const secret = basic?.secret ?? parameters.get('client_secret')
  if (secret !== undefined && secret !== client.secret) {
    throw new EntraError(
      401,
      'invalid_client',
      7000215,
      `Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '${client.appId}'.`,
    )
  }
  return { parameters, client, authenticated: secret !== undefined, segment }
}

function readBasicCredentials(header: string | undefined) {
  const [, encoded] = /^basic ([A-Za-z0-9+/=]+)$/i.exec(header ?? '') ?? []
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString()
  const at = text.indexOf(':')
  return { clientId: text.slice(0, at), secret: text.slice(at + 1) }
}

function readDefaultScope({ parameters }: Grant, { apis }: DevEntraContext): string {
  const scope = parameters.require('scope')
  const [, audience] = /^(\S+)\/\.default$/.exec(scope) ?? []
  if (audience === undefined) {
    throw new EntraError(
      400,
      'invalid_scope',
      1002012,
      `The provided value for scope ${scope} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).`,
    )
  }
  checkResource(parameters.get('resource'), audience, apis)
  return audience
}

async function grantToClient(grant: Grant, audience: string, context: DevEntraContext) {
  requireSecret(grant)
  if (sharedAuthorities.includes(grant.segment)) {
    throw new EntraError(
      400,
      'invalid_request',
      50059,
      'No tenant-identifying information found in either the request or implied by any provided credentials.',
    )
  }
  findApi(audience, context.apis)
  const { persona = 'idle', appId, objectId } = grant.client
  const { token, expiresInSeconds } = await context.issuer.issue({
    persona,
    audience,
    tenant: grant.segment,
    client: { appId, proof: '1' },
    ...(objectId === undefined ? {} : { claims: { oid: objectId, sub: objectId } }),
  })
  return {
    token_type: 'Bearer',
    expires_in: expiresInSeconds,
    ext_expires_in: expiresInSeconds,
    access_token: token,
  }
}

async function grantToUser(grant: Grant, signIns: SignIns, context: DevEntraContext) {
  const { parameters, client } = grant
  if (client.secret !== undefined) requireSecret(grant)
  const signIn = signIns.redeem(parameters.require('code'))
  const fits =
    signIn?.clientId === client.appId && signIn.redirectUri === parameters.require('redirect_uri')
  if (!signIn || !fits) {
    throw new EntraError(
      400,
      'invalid_grant',
      70008,
      'The provided authorization code or refresh token has expired, was redeemed before, or was issued to another client.',
    )
  }
  checkVerifier(signIn.codeChallenge, parameters.get('code_verifier'))
  const { audience, scopes, openid } = readScopes(signIn.scope, context.apis, client.appId)
  checkResource(parameters.get('resource'), audience, context.apis)
  const common = {
    persona: signIn.persona,
    tenant: signIn.tenantId,
    client: { appId: client.appId, proof: client.secret === undefined ? '0' : '1' },
  } as const
  const access = audience
    ? await context.issuer.issue({ ...common, audience, ...(scopes ? { scopes } : {}) })
    : undefined
  const identity = openid
    ? await context.issuer.issue({
        ...common,
        idToken: true,
        version: '2.0',
        audience: client.appId,
        expiresInSeconds: 3600,
        ...(signIn.nonce === undefined ? {} : { nonce: signIn.nonce }),
      })
    : undefined
  const expiresIn = access?.expiresInSeconds ?? 3600
  return {
    token_type: 'Bearer',
    scope: audience
      ? String(access?.claims.scp)
          .split(' ')
          .map((name) => `${audience}/${name}`)
          .join(' ')
      : signIn.scope,
    expires_in: expiresIn,
    ext_expires_in: expiresIn,
    ...(access ? { access_token: access.token } : {}),
    ...(identity ? { id_token: identity.token } : {}),
  }
}

function requireSecret({ authenticated }: Grant): void {
  if (authenticated) return
  throw new EntraError(
    401,
    'invalid_client',
    7000218,
    "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
  )
}

function checkVerifier(challenge: string | undefined, verifier: string | undefined): void {
  if (challenge === undefined && verifier === undefined) return
  const hash = createHash('sha256')
    .update(verifier ?? '')
    .digest('base64url')
  if (hash === challenge) return
  throw new EntraError(
    400,
    'invalid_grant',
    501481,
    'The Code_Verifier does not match the code_challenge supplied in the authorization request.',
  )
}

function refuseGrantType(grantType: string): EntraError {
  return new EntraError(
    400,
    'unsupported_grant_type',
    70003,
    `The app requested an unsupported grant type '${grantType}'.`,
  )
}
