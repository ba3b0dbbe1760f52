import { isLoopback } from '../loopback.ts'
import type { CloudName } from './config.ts'
import { type Path, quote, type Report } from './problems.ts'

/** The authority of each cloud. */
export const CLOUD_AUTHORITIES: Readonly<Record<CloudName, string>> = {
  public: 'https://login.microsoftonline.com',
  usgov: 'https://login.microsoftonline.us',
  china: 'https://login.partner.microsoftonline.cn',
}

const CLOUD_OF_HOST: ReadonlyMap<string, CloudName> = new Map([
  ['login.microsoftonline.com', 'public'],
  ['login.windows.net', 'public'],
  ['login.microsoft.com', 'public'],
  ['login.microsoftonline.us', 'usgov'],
  ['login.partner.microsoftonline.cn', 'china'],
  ['login.chinacloudapi.cn', 'china'],
])

// Hosts of Microsoft that are no authority, such as sts.windows.net (only an issuer) or a closed
// cloud. Taken for an unknown authority they would miss the exact issuer check of a known one.
const MICROSOFT_HOST =
  /(^|\.)(microsoftonline\.(com|us|de|cn)|windows\.net|login\.microsoft\.com|chinacloudapi\.cn)\.?$/

/** An authority without a slash at the end, and the known cloud that it belongs to. */
export interface Authority {
  readonly authority: string
  readonly cloud?: CloudName
}

/** The authority of a known cloud. */
export function cloudAuthority(cloud: CloudName): Authority {
  return { authority: CLOUD_AUTHORITIES[cloud], cloud }
}

/** Checks the base URL of an authority; undefined where it is refused, with the reason reported. */
export function checkAuthority(text: string, path: Path, report: Report): Authority | undefined {
  const refuse = (message: string, hint: string): undefined => {
    report(path, message, hint)
    return undefined
  }
  const example = 'Write a base URL such as https://customers.ciamlogin.com.'
  // The URL parser repairs backslashes, spaces and tabs; what is read here must be what is written.
  if (!/^https?:\/\/[^\s\\]+$/i.test(text) || !URL.canParse(text)) {
    return refuse('is not an absolute http(s) URL', example)
  }
  const url = new URL(text)
  if (url.username !== '' || url.password !== '' || /^[^/]*\/\/[^/]*@/.test(text)) {
    return refuse('holds credentials', 'Remove them: metadata and keys are public.')
  }
  if (/[?#]/.test(text)) {
    return refuse('has a query or a fragment', 'Remove it; appId adds ?appid= where it is needed.')
  }
  if (/(^|\.)b2clogin\.(com|cn|us)\.?$/.test(url.hostname) || /^\/tfp(\/|$)/i.test(url.pathname)) {
    return refuse(
      'is an Azure AD B2C authority, which is not supported',
      'Use Entra External ID: https://NAME.ciamlogin.com.',
    )
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    return refuse(
      'uses http: away from loopback, so anyone on the way could replace the keys',
      'Use https:.',
    )
  }
  const cloud = url.protocol === 'https:' ? CLOUD_OF_HOST.get(url.host) : undefined
  if (cloud === undefined && MICROSOFT_HOST.test(url.hostname)) {
    return refuse(
      `is not a known authority of Microsoft: ${quote(url.host)}`,
      `Use one of ${[...CLOUD_OF_HOST.keys()].join(', ')}, without a port.`,
    )
  }
  const base = url.pathname.replace(/\/+$/, '')
  const managed = cloud !== undefined || /(^|\.)ciamlogin\.com$/.test(url.hostname)
  if ((managed && base !== '') || /\/v2\.0(\/|$)|\/\.well-known(\/|$)/i.test(base)) {
    return refuse(
      'has a path',
      `Write only ${url.origin}: tenant id, version and document name are added to it.`,
    )
  }
  const authority = `${url.origin}${base}`
  return cloud === undefined ? { authority } : { authority, cloud }
}
