import { originOf } from '../loopback.ts'
import type { SignInConfig } from './config.ts'

/** The addresses of sign-in that Entra has to know, exactly as they are to be registered. */
export interface SignInUris {
  /** Where Entra sends the browser with its answer; without them nobody signs in. */
  readonly callbacks: readonly string[]
  /** Where Entra sends the browser after a sign-out; without them it stays on a page of Entra's. */
  readonly signedOut: readonly string[]
  /** What Entra calls when somebody signs out elsewhere; one of them is enough. */
  readonly frontchannelLogout: readonly string[]
}

/** Lists the addresses of each host. */
export function signInUrisOf({ hosts }: Pick<SignInConfig, 'hosts'>): SignInUris {
  const at = (path: string) => hosts.map((host) => `${originOf(host, false)}/oauth2/${path}`)
  return {
    callbacks: at('callback'),
    signedOut: at('signed_out'),
    frontchannelLogout: at('frontchannel_logout'),
  }
}
