import { createHash, createHmac, randomBytes } from 'node:crypto'
import { open, type SealingKeys, seal } from '../session/sealing.ts'

/** What `__Host-entra-login` holds: one for all tabs of a browser, for an hour. Times in seconds. */
export interface Login {
  /** 256 random bits that never leave the cookie but as hashes. */
  readonly secret: string
  readonly host: string
  readonly madeAt: number
  /** The starts of the last minute, by the page that they were for. */
  readonly starts: readonly (readonly [page: string, at: number])[]
}

/** What travels through Entra as `state`. */
export interface LoginState {
  /** 256 random bits of this attempt. */
  readonly secret: string
  /** Ties it to the login of the browser that began. */
  readonly binding: string
  readonly host: string
  /** Where the browser goes afterwards. */
  readonly target: string
  readonly startedAt: number
  /** A re-check asks Entra without a page and changes nothing but times and claims. */
  readonly isRecheck: boolean
  /** The authentication context that was asked for. */
  readonly authContext: string | undefined
}

/** For how long a sign-in may be under way, in seconds. */
export const loginSeconds = 3_600

/** Starts for one page within a minute; more are a circle. */
export const maxStarts = 5
const startWindowSeconds = 60
/** Twenty tabs and some more; the cookie stays below 1 KB. */
const maxRemembered = 32

/** A new login for a browser that has none. */
export function createLogin(host: string, nowSeconds: number): Login {
  return { secret: randomSecret(), host, madeAt: nowSeconds, starts: [] }
}

/** The login with one more start; undefined where it is one too many. */
export function countStart(login: Login, target: string, nowSeconds: number): Login | undefined {
  const page = shortHash(`page ${target}`)
  // By the distance: starts of a clock that was ahead would count until it gets there again.
  const recent = login.starts.filter(([, at]) => Math.abs(nowSeconds - at) < startWindowSeconds)
  if (recent.filter(([name]) => name === page).length >= maxStarts) return undefined
  return {
    ...login,
    madeAt: nowSeconds,
    starts: [...recent, [page, nowSeconds] as const].slice(-maxRemembered),
  }
}

/** Seals a login for its cookie; undefined without a sealing key. */
export function sealLogin(keys: SealingKeys, login: Login): string | undefined {
  return seal(
    keys,
    'login',
    JSON.stringify([1, login.secret, login.host, login.madeAt, login.starts]),
  )
}

/** Opens the value of the cookie; undefined for whatever is no login of this host and hour. */
export function openLogin(
  keys: SealingKeys,
  value: string,
  host: string,
  nowSeconds: number,
): Login | undefined {
  const text = open(keys, 'login', value)
  if (text === undefined) return undefined
  const [version, secret, ownHost, madeAt, starts] = readForm(text)
  if (version !== 1 || ownHost !== host || nowSeconds - madeAt > loginSeconds) return undefined
  return { secret, host, madeAt, starts }
}

/** A new state, bound to a login. */
export function createState(
  login: Login,
  members: Pick<LoginState, 'target' | 'startedAt' | 'isRecheck' | 'authContext'>,
): LoginState {
  return { secret: randomSecret(), binding: bindingOf(login), host: login.host, ...members }
}

/** Seals a state; undefined without a sealing key. */
export function sealState(keys: SealingKeys, state: LoginState): string | undefined {
  const { secret, binding, host, target, startedAt, isRecheck, authContext } = state
  const form = [1, secret, binding, host, target, startedAt, isRecheck ? 1 : 0, authContext ?? 0]
  return seal(keys, 'state', JSON.stringify(form))
}

/** Opens a state; undefined for whatever is none of this host. Its age is the caller's to judge. */
export function openState(keys: SealingKeys, value: string, host: string): LoginState | undefined {
  const text = open(keys, 'state', value)
  if (text === undefined) return undefined
  const [version, secret, binding, ownHost, target, startedAt, recheck, authContext] =
    readForm(text)
  if (version !== 1 || ownHost !== host) return undefined
  const isRecheck = recheck === 1
  return {
    secret,
    binding,
    host,
    target,
    startedAt,
    isRecheck,
    authContext: authContext || undefined,
  }
}

/** Whether a state began in the browser that has this login. */
export function isBound(state: LoginState, login: Login): boolean {
  return state.binding === bindingOf(login)
}

/** The verifier of PKCE (RFC 7636): only who has both the cookie and the state can make it. */
export function codeVerifierOf(state: LoginState, login: Login): string {
  return derive(state, login, 'code verifier')
}

/** The nonce that the ID token must carry. */
export function nonceOf(state: LoginState, login: Login): string {
  return derive(state, login, 'nonce')
}

function derive(state: LoginState, login: Login, purpose: string): string {
  return createHmac('sha256', login.secret).update(`${purpose} ${state.secret}`).digest('base64url')
}

function bindingOf(login: Login): string {
  return createHash('sha256').update(`binding ${login.secret}`).digest('base64url')
}

function randomSecret(): string {
  return randomBytes(32).toString('base64url')
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 8)
}

/** The members of a sealed form; a form that is none has no version either. */
// biome-ignore lint/suspicious/noExplicitAny: only what was sealed here comes here.
function readForm(text: string): any[] {
  const form = JSON.parse(text)
  return Array.isArray(form) ? form : []
}
