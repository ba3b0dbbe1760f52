import { createHash, randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { authenticateClient, type ClientProof } from './client-authentication.ts'
import type { DevEntraContext } from './context.ts'
import { type ClientRegistration, findClient, sharedAuthorities } from './directory.ts'
import { resolveAuthority } from './discovery.ts'
import { EntraError } from './entra-error.ts'
import { type Parameters, readParameters } from './parameters.ts'
import { findUser, shapeLoginHint, type UserPersona } from './personas.ts'
import { refuse } from './refusals.ts'
import { checkResource, findApi, readScopes } from './scope-request.ts'
import type { SignIn } from './sign-ins.ts'
import { deriveIssuer, type IssueRequest } from './token-issuer.ts'
import type { JsonObject } from './tokens.ts'

type TokenRequest = FastifyRequest<{ Params: { tenant: string } }>

interface Grant {
  readonly parameters: Parameters
  readonly client: ClientRegistration
  readonly proof: ClientProof
  /** Path segment of the authority. */
  readonly segment: string
}

/**
 * Adds the token endpoints: client credentials (v1.0 and v2.0), authorization code and refresh
 * token (v2.0).
 */
export function addTokenEndpoint(app: FastifyInstance, context: DevEntraContext): void {
  app.post<{ Params: { tenant: string } }>(
    '/:tenant/oauth2/v2.0/token',
    { config: { devEntraEndpoint: 'token' } },
    async (request, reply) => {
      reply.headers({ 'cache-control': 'no-store', pragma: 'no-cache' })
      const grant = await readGrant(request, context)
      const grantType = grant.parameters.require('grant_type')
      if (grantType === 'client_credentials') {
        return grantToClient(grant, readDefaultScope(grant, context), context)
      }
      if (grantType === 'authorization_code') return redeemCode(grant, context)
      if (grantType === 'refresh_token') return redeemRefreshToken(grant, context)
      throw refuseGrantType(grantType)
    },
  )
  if (context.flavour === 'external-id') return
  app.post<{ Params: { tenant: string } }>(
    '/:tenant/oauth2/token',
    { config: { devEntraEndpoint: 'token' } },
    async (request, reply) => {
      reply.headers({ 'cache-control': 'no-store', pragma: 'no-cache' })
      const grant = await readGrant(request, context)
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

async function readGrant(request: TokenRequest, context: DevEntraContext): Promise<Grant> {
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
  const proof = await authenticateClient(client, parameters, basic?.secret, segment, context)
  return { parameters, client, proof, segment }
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
    client: { appId, proof: grant.proof },
    ...(objectId === undefined ? {} : { claims: { oid: objectId, sub: objectId } }),
  })
  return {
    token_type: 'Bearer',
    expires_in: expiresInSeconds,
    ext_expires_in: expiresInSeconds,
    access_token: token,
  }
}

async function redeemCode(grant: Grant, context: DevEntraContext) {
  const { parameters, client } = grant
  if (client.secret !== undefined) requireSecret(grant)
  const signIn = context.signIns.redeem(parameters.require('code'))
  const fits =
    signIn?.clientId === client.appId && signIn.redirectUri === parameters.require('redirect_uri')
  if (!signIn || !fits) throw refuseGrant()
  checkVerifier(signIn.codeChallenge, parameters.get('code_verifier'))
  return grantToUser(grant, signIn, signIn.scope, context)
}

async function redeemRefreshToken(grant: Grant, context: DevEntraContext) {
  const { parameters, client } = grant
  if (client.secret !== undefined) requireSecret(grant)
  const signIn = context.signIns.refresh(parameters.require('refresh_token'))
  if (signIn?.clientId !== client.appId) throw refuseGrant()
  const { nonce: _, ...again } = signIn
  return grantToUser(grant, again, parameters.get('scope') ?? signIn.scope, context)
}

async function grantToUser(
  { parameters, client, proof }: Grant,
  signIn: SignIn,
  scope: string,
  context: DevEntraContext,
) {
  const persona = findUser(signIn.persona)
  if (!persona) throw refuseGrant()
  checkRefusals(persona, client, context)
  const { audience, scopes, openid } = readScopes(scope, context.apis, client.appId)
  checkResource(parameters.get('resource'), audience, context.apis)
  const common = {
    persona: signIn.persona,
    tenant: signIn.tenantId,
    client: { appId: client.appId, proof },
  } as const
  const access = await (audience
    ? context.issuer.issue({ ...common, audience, ...(scopes ? { scopes } : {}) })
    : issueForGraph(common, scope, context))
  const identity = openid
    ? await context.issuer.issue({
        ...common,
        idToken: true,
        version: '2.0',
        audience: client.appId,
        expiresInSeconds: 3600,
        claims: shapeOptionalClaims(persona, client, signIn, context),
        removeClaims: listUnaskedClaims(persona, client, scope),
        ...(signIn.nonce === undefined ? {} : { nonce: signIn.nonce }),
      })
    : undefined
  return {
    token_type: 'Bearer',
    scope: audience
      ? String(access.claims.scp)
          .split(' ')
          .map((name) => `${audience}/${name}`)
          .join(' ')
      : scope,
    expires_in: access.expiresInSeconds,
    ext_expires_in: access.expiresInSeconds,
    access_token: access.token,
    ...(namesOf(scope).includes('offline_access')
      ? { refresh_token: context.signIns.addRefreshToken(signIn) }
      : {}),
    ...(identity ? { id_token: identity.token } : {}),
  }
}

/** A person who is refused since the sign-in gets no tokens; what needs a page says so. */
function checkRefusals(
  { name, upn }: UserPersona,
  client: ClientRegistration,
  { refusals }: DevEntraContext,
): void {
  for (const refusal of [refusals.get(name), refusals.get(client.name)]) {
    if (refusal === 'disabled' || refusal === 'not-assigned' || refusal === 'conditional-access') {
      throw refuse(refusal, upn, client.appId, 'invalid_grant')
    }
  }
}

/**
 * Without an API in the request, the access token is for Microsoft Graph. As with the real Graph,
 * nobody else can verify it: the signed header has the hash of the nonce, not the nonce.
 */
async function issueForGraph(
  common: Pick<IssueRequest, 'persona' | 'tenant' | 'client'>,
  scope: string,
  { issuer }: DevEntraContext,
) {
  const nonce = randomUUID()
  const issued = await issuer.issue({
    ...common,
    audience: '00000003-0000-0000-c000-000000000000',
    version: '1.0',
    scopes: namesOf(scope).filter((name) => name !== 'offline_access'),
    header: { nonce: createHash('sha256').update(nonce).digest('base64url') },
  })
  const [, ...rest] = issued.token.split('.')
  const header = Buffer.from(JSON.stringify({ ...issued.header, nonce })).toString('base64url')
  return { ...issued, token: [header, ...rest].join('.') }
}

/** The optional claims that the registration of the client asks for. */
function shapeOptionalClaims(
  persona: UserPersona,
  { idTokenClaims = [] }: ClientRegistration,
  { sid, contexts }: SignIn,
  { origin }: DevEntraContext,
): JsonObject {
  const guest = persona.homeTenant !== undefined
  const optional = {
    sid,
    login_hint: shapeLoginHint(persona),
    acct: guest ? 1 : 0,
    ...(contexts.length === 0 ? {} : { acrs: contexts }),
  }
  const asked = Object.entries(optional).filter(([name]) => idTokenClaims.includes(name as never))
  return {
    ...Object.fromEntries(asked),
    ...(guest ? { idp: deriveIssuer(origin(), persona.homeTenant?.id ?? '', '1.0') } : {}),
  }
}

/** The claims that an ID token has only with a scope, or with a registration that asks for them. */
function listUnaskedClaims(
  persona: UserPersona,
  { idTokenClaims = [] }: ClientRegistration,
  scope: string,
): string[] {
  const scopes = namesOf(scope)
  return [
    ...(idTokenClaims.includes('sid') ? [] : ['sid']),
    ...(scopes.includes('profile') ? [] : ['oid', 'name', 'preferred_username']),
    // Guests have it by default.
    ...(scopes.includes('email') || persona.homeTenant ? [] : ['email']),
  ]
}

function namesOf(scope: string): string[] {
  return scope.split(' ').filter((name) => name !== '')
}

function refuseGrant(): EntraError {
  return new EntraError(
    400,
    'invalid_grant',
    70008,
    'The provided authorization code or refresh token has expired, was redeemed before, or was issued to another client.',
  )
}

function requireSecret({ proof }: Grant): void {
  if (proof !== '0') return
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
