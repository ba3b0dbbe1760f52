import type { CloudName } from '../config/config.ts'

/** What is known of an Entra cloud without asking it. */
export interface Cloud {
  /** Hosts that may serve its keys. */
  readonly hosts: readonly string[]
  /** Issuer of v1.0 tokens, `{tid}` standing for the tenant id. */
  readonly v1Issuer: string
  /** Issuers of v2.0 tokens. */
  readonly v2Issuers: readonly string[]
}

/**
 * The national clouds. Source: "National clouds" and "Access tokens" of the Microsoft identity
 * platform documentation; the v1.0 issuer of the US Government cloud is from community sources.
 */
export const clouds: Readonly<Record<CloudName, Cloud>> = {
  public: {
    hosts: ['login.microsoftonline.com', 'login.windows.net', 'login.microsoft.com'],
    v1Issuer: 'https://sts.windows.net/{tid}/',
    v2Issuers: ['https://login.microsoftonline.com/{tid}/v2.0'],
  },
  usgov: {
    hosts: ['login.microsoftonline.us'],
    v1Issuer: 'https://sts.windows.net/{tid}/',
    v2Issuers: ['https://login.microsoftonline.us/{tid}/v2.0'],
  },
  china: {
    hosts: ['login.partner.microsoftonline.cn', 'login.chinacloudapi.cn'],
    v1Issuer: 'https://sts.chinacloudapi.cn/{tid}/',
    v2Issuers: [
      'https://login.partner.microsoftonline.cn/{tid}/v2.0',
      'https://login.chinacloudapi.cn/{tid}/v2.0',
    ],
  },
}
