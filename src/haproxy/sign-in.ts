import type { ListenAddress } from '../config/config.ts'
import { checkTimes, healthCheck, secondTry } from './replicas.ts'

/**
 * The backend of the sign-in listener, for `/oauth2/`. Only HAProxy's word on host and scheme counts
 * there: a redirect URI is made of both. `verifier` is the HOST:PORT of the verify listener, whose host
 * is that of the sign-in listener where this one listens everywhere.
 */
export function signInLines(listen: ListenAddress, verifier: string): string[] {
  return [
    '# Signs people in with a browser.',
    'backend entra-sign-in',
    '    mode http',
    '    log global',
    '    http-request set-header x-forwarded-host %[req.hdr(host)]',
    '    http-request set-header x-forwarded-proto http',
    '    # CHANGE: also where a proxy in front of HAProxy ends TLS.',
    '    http-request set-header x-forwarded-proto https if { ssl_fc }',
    '    http-request del-header authorization',
    '    http-request del-header upgrade',
    '    http-request del-header connection',
    ...healthCheck,
    ...secondTry,
    '    # The callback waits for Entra.',
    '    timeout server  20s',
    checkTimes,
    `    server s1 ${addressOf(listen, verifier)}`,
  ]
}

/**
 * Removes the cookies of sessions and of sign-ins before the application: whoever reads one there, in a
 * log for instance, could be that person until the session ends.
 */
export const removeSessionCookies: readonly string[] = [
  '    # The application does not get the cookies of sessions and sign-ins.',
  '    acl has_session_cookie  req.fhdr(cookie) -m sub __Host-entra-',
  `    http-request set-header cookie "%[req.fhdr(cookie),regsub('(^|; *)__Host-entra-(session|login)=[^;]*','',g)]" if has_session_cookie`,
  "    http-request replace-header cookie '^[; ]+(.*)$' '\\1'",
  '    http-request del-header cookie if { req.fhdr(cookie) -m len 0 }',
]

function addressOf({ host, port }: ListenAddress, verifier: string): string {
  const isEverywhere = host === '0.0.0.0' || host === '::'
  const isLoopback = host === 'localhost' || host === '::1' || host.startsWith('127.')
  const verifierHost = verifier.replace(/:\d+$/, '')
  if (isEverywhere || isLoopback) return `${verifierHost}:${port}`
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
