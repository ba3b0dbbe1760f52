import type { ApiDirectory, ApiRegistration } from './directory.ts'
import { EntraError } from './entra-error.ts'

/** The scopes that a client asked for, apart by what they mean. */
export interface ScopeRequest {
  /** The API's name as the client wrote it; absent when only an ID token was asked for. */
  readonly audience?: string
  /** Scope names of the API; absent for `.default`. */
  readonly scopes?: readonly string[]
  readonly openid: boolean
}

const openIdScopes = ['openid', 'profile', 'email', 'offline_access']

/**
 * Reads the `scope` parameter of a user's sign-in; throws AADSTS errors for two APIs at once
 * (28000), an unknown API (500011) or an unknown scope (650053).
 */
export function readScopes(scope: string, apis: ApiDirectory, clientId: string): ScopeRequest {
  const names = scope.split(' ').filter((name) => name !== '')
  const openid = names.includes('openid')
  const qualified = names.filter((name) => !openIdScopes.includes(name)).map(splitScope)
  const [first] = qualified
  if (!first) return { openid }
  const api = findApi(first.audience, apis)
  if (qualified.some(({ audience }) => apis.find(audience) !== api)) {
    throw new EntraError(
      400,
      'invalid_request',
      28000,
      'Provided value for the input parameter scope is not valid because it contains more than one resource.',
    )
  }
  const scopes = qualified.map(({ name }) => name)
  if (scopes.includes('.default')) return { audience: first.audience, openid }
  const unknown = scopes.find((name) => !api.scopes.includes(name))
  if (unknown !== undefined) {
    throw new EntraError(
      400,
      'invalid_client',
      650053,
      `The application '${clientId}' asked for scope '${unknown}' that doesn't exist on the resource '${api.appId}'.`,
    )
  }
  return { audience: first.audience, scopes, openid }
}

/** The API of an audience; throws AADSTS500011 when there is none. */
export function findApi(audience: string, apis: ApiDirectory): ApiRegistration {
  const api = apis.find(audience)
  if (api) return api
  throw new EntraError(
    400,
    'invalid_resource',
    500011,
    `The resource principal named ${audience} was not found in the tenant. Check the identifier URI of the API's registration.`,
  )
}

/**
 * Refuses an RFC 8707 `resource` that is not the API of the scopes, as Entra does since 2026
 * (AADSTS9010010); clients of the Model Context Protocol send one.
 */
export function checkResource(
  resource: string | undefined,
  audience: string | undefined,
  apis: ApiDirectory,
): void {
  if (resource === undefined) return
  const api = apis.find(resource)
  if (api && audience !== undefined && apis.find(audience) === api) return
  throw new EntraError(
    400,
    'invalid_target',
    9010010,
    "The resource parameter provided in the request doesn't match with the requested scopes.",
  )
}

function splitScope(scope: string): { audience: string; name: string } {
  const at = scope.lastIndexOf('/')
  // Entra takes a bare scope for one of Microsoft Graph.
  if (at < 0) return { audience: '00000003-0000-0000-c000-000000000000', name: scope }
  return { audience: scope.slice(0, at), name: scope.slice(at + 1) }
}
