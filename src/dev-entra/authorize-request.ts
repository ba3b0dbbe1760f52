import type { DevEntraContext } from './context.ts'
import { type ClientRegistration, findClient } from './directory.ts'
import { resolveAuthority } from './discovery.ts'
import { EntraError } from './entra-error.ts'
import type { Parameters } from './parameters.ts'
import { refuse } from './refusals.ts'
import { checkResource, readScopes } from './scope-request.ts'

/** Where the answer to an authorization request goes. */
export interface ReplyAddress {
  readonly client: ClientRegistration
  readonly redirectUri: string
  readonly state?: string
  readonly formPost: boolean
}

/** A checked authorization request. */
export interface AuthorizeRequest extends ReplyAddress {
  /** Tenant id, or a shared authority. */
  readonly segment: string
  readonly scope: string
  readonly prompt?: 'none' | 'login' | 'select_account' | 'consent'
  readonly loginHint?: string
  /** Domain whose people are meant. */
  readonly domainHint?: string
  readonly sid?: string
  readonly nonce?: string
  readonly codeChallenge?: string
  /** Authentication contexts that the parameter `claims` asks for. */
  readonly contexts: readonly string[]
}

const s256Challenge = /^[A-Za-z0-9_-]{43}$/
const prompts = ['none', 'login', 'select_account', 'consent'] as const

/**
 * Reads client and redirect URI; throws AADSTS errors, which are shown and sent nowhere: nothing is
 * sent to an address before client and address are known to be good.
 */
export function readReplyAddress(
  parameters: Parameters,
  { registrations, refusals }: DevEntraContext,
): ReplyAddress {
  const clientId = parameters.require('client_id')
  const client = findClient(clientId)
  if (!client) {
    throw new EntraError(
      400,
      'unauthorized_client',
      700016,
      `Application with identifier '${clientId}' was not found in the directory.`,
    )
  }
  const redirectUri = parameters.require('redirect_uri')
  if (refusals.get(client.name) === 'redirect-uri-unknown') {
    throw refuse('redirect-uri-unknown', client.name, client.appId)
  }
  if (!registrations.allowsRedirect(client, redirectUri)) {
    throw new EntraError(
      400,
      'invalid_request',
      50011,
      `The redirect URI '${redirectUri}' specified in the request does not match the redirect URIs configured for the application '${clientId}': loopback addresses do, and those that were registered.`,
    )
  }
  const state = parameters.get('state')
  return {
    client,
    redirectUri,
    formPost: parameters.get('response_mode') === 'form_post',
    ...(state === undefined ? {} : { state }),
  }
}

/** Checks the rest of the request; throws AADSTS errors that are sent to the application. */
export function readAuthorizeRequest(
  parameters: Parameters,
  address: ReplyAddress,
  tenant: string,
  context: DevEntraContext,
): AuthorizeRequest {
  const { client } = address
  const { segment } = resolveAuthority(tenant, context)
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
  const { audience } = readScopes(scope, context.apis, client.appId)
  checkResource(parameters.get('resource'), audience, context.apis)
  const optional = {
    codeChallenge: readChallenge(parameters, client),
    prompt: readPrompt(parameters.get('prompt')),
    loginHint: parameters.get('login_hint'),
    domainHint: readDomainHint(parameters.get('domain_hint')),
    sid: parameters.get('sid'),
    nonce: parameters.get('nonce'),
  }
  const given = Object.entries(optional).filter(([, value]) => value !== undefined)
  return {
    ...address,
    segment,
    scope,
    contexts: readContexts(parameters.get('claims')),
    ...Object.fromEntries(given),
  }
}

function readChallenge(parameters: Parameters, { secret }: ClientRegistration): string | undefined {
  const codeChallenge = parameters.get('code_challenge')
  if (codeChallenge === undefined) {
    if (secret !== undefined) return undefined
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

function readPrompt(text: string | undefined): AuthorizeRequest['prompt'] {
  const prompt = prompts.find((one) => one === text)
  if (text === undefined || prompt) return prompt
  throw new EntraError(400, 'invalid_request', 90023, `Unsupported 'prompt' value '${text}'.`)
}

function readDomainHint(text: string | undefined): string | undefined {
  return text === 'organizations' || text === 'consumers' ? undefined : text?.toLowerCase()
}

/**
 * The values of `acrs` in a claims request (OpenID Connect Core section 5.5), for the ID token or
 * the access token.
 */
function readContexts(text: string | undefined): string[] {
  if (text === undefined) return []
  try {
    const { id_token, access_token } = JSON.parse(text)
    return [id_token, access_token].flatMap((part) => {
      const { value, values = [] } = part?.acrs ?? {}
      return [value, values].flat().filter((one) => typeof one === 'string' && one !== '')
    })
  } catch {
    throw new EntraError(
      400,
      'invalid_request',
      50149,
      "The parameter 'claims' is not a JSON object of claims.",
    )
  }
}
