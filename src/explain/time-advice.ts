import { change } from './advice.ts'
import type { Change } from './explanation.ts'
import { describeDistance, describeSpan, type Facts } from './facts.ts'

/** A clock that is wrong by more is noticed otherwise. */
const longestOutageSeconds = 86_400

/** When the token has expired. */
export function adviseOnExpiry({ claims, nowMs, rules }: Facts): Change[] {
  const seconds = nowMs / 1000 - (claims?.expiresAt ?? 0)
  if (seconds > longestOutageSeconds) {
    return [
      change(
        'request',
        `The token expired ${describeDistance(-seconds)}: it was kept in a file, a variable or a test since ${new Date((claims?.issuedAt ?? 0) * 1000).toISOString().slice(0, 10)}. Request a new one; let the client ask its library for a token before each call (MSAL: acquireTokenSilent).`,
      ),
    ]
  }
  return [
    change(
      'request',
      `The token expired ${describeDistance(-seconds)} (${describeSpan(rules.clockSkewSeconds)} of clock skew are admitted already). Request a new one; a client that sends expired tokens should ask its library for a token before each call (MSAL: acquireTokenSilent) and not cache tokens itself.`,
    ),
    change(
      'clock',
      `If it is a fresh token, the clock of this machine is fast by ${describeSpan(seconds)} or more: "haproxy-entra-auth check" compares it with the clock of the authority.`,
    ),
  ]
}

/** When the token begins in the future. */
export function adviseOnFuture({ claims, nowMs }: Facts): Change[] {
  const start = Math.max(claims?.issuedAt ?? 0, claims?.notBefore ?? 0)
  return [
    change(
      'clock',
      `The token begins ${describeDistance(start - nowMs / 1000)}, and Entra ID dates tokens five minutes back: the clock of this machine is slow. Compare clocks ("haproxy-entra-auth check" does, or "chronyc tracking") and run a time service.`,
    ),
  ]
}
