import type { TenantConfig } from '../config/config.ts'
import { clouds } from './clouds.ts'

/** What is used of an authority's OpenID Connect metadata for one tenant and token version. */
export interface Metadata {
  readonly issuer: string
  readonly jwksUri: string
  readonly cloudInstanceName: string | undefined
}

/** Token versions, which have metadata, issuer and key set each. */
export type EndpointVersion = '1.0' | '2.0'

/** Metadata that names another issuer or a key address which must not be trusted. */
export class MetadataError extends Error {}

/** Address of the metadata, from the configuration alone (OpenID Connect Discovery section 4). */
export function metadataUrl(tenant: TenantConfig, version: EndpointVersion): string {
  const path = version === '2.0' ? '/v2.0' : ''
  // An API with custom signing keys has them only under its own id ("Claims mapping").
  const query = tenant.appId ? `?appid=${tenant.appId}` : ''
  return `${tenant.authority}/${tenant.id}${path}/.well-known/openid-configuration${query}`
}

/**
 * Checks a metadata document and takes from it what is used. Throws MetadataError with a sentence
 * for the log where the issuer or the address of the keys is not what it must be.
 */
export function readMetadata(
  tenant: TenantConfig,
  version: EndpointVersion,
  document: unknown,
): Metadata {
  const { issuer, jwks_uri, cloud_instance_name } = (document ?? {}) as Record<string, unknown>
  if (typeof issuer !== 'string' || typeof jwks_uri !== 'string') {
    throw new MetadataError('the metadata has no issuer or no jwks_uri')
  }
  if (!isExpectedIssuer(tenant, version, issuer)) {
    throw new MetadataError(`the metadata names the issuer ${issuer}, which is not this tenant's`)
  }
  if (!isTrustedAddress(tenant, jwks_uri)) {
    throw new MetadataError(`the metadata names the key address ${jwks_uri}, which is not trusted`)
  }
  return {
    issuer,
    jwksUri: jwks_uri,
    cloudInstanceName: typeof cloud_instance_name === 'string' ? cloud_instance_name : undefined,
  }
}

function isExpectedIssuer(tenant: TenantConfig, version: EndpointVersion, issuer: string): boolean {
  if (tenant.cloud) {
    const { v1Issuer, v2Issuers } = clouds[tenant.cloud]
    const expected = version === '1.0' ? [v1Issuer] : v2Issuers
    return expected.some((template) => template.replaceAll('{tid}', tenant.id) === issuer)
  }
  return issuer.endsWith(version === '1.0' ? `/${tenant.id}/` : `/${tenant.id}/v2.0`)
}

/** Whether an address that the metadata names, of keys or of an endpoint, belongs to the authority. */
export function isTrustedAddress(tenant: TenantConfig, address: string): boolean {
  if (!URL.canParse(address)) return false
  const url = new URL(address)
  const authority = new URL(tenant.authority)
  if (url.protocol !== authority.protocol || url.username !== '' || url.password !== '') {
    return false
  }
  if (url.host === authority.host) return true
  if (tenant.cloud) return clouds[tenant.cloud].hosts.includes(url.host)
  // External ID answers under the tenant's name and under its id.
  return authority.host.endsWith('.ciamlogin.com') && url.host === `${tenant.id}.ciamlogin.com`
}
