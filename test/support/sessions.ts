import type { SealingKeys } from '../../src/session/sealing.ts'
import { createSealingKey } from '../../src/session/sealing.ts'
import { fingerprintOf, type Session, sealSession } from '../../src/session/session.ts'
import { ids, startSeconds } from './ids.ts'

/** Client id of the web application that people sign in to. */
export const webClient = '33333333-3333-4333-8333-333333333333'
export const host = 'portal.contoso.example'
export const otherHost = 'wiki.contoso.example'

/** Keys made of fixed material, the last of which seals. */
export function keysOf(...names: readonly string[]): SealingKeys {
  const keys = names.map((name) => createSealingKey(Buffer.from(name.padEnd(32, '.'))))
  return { sealing: keys.at(-1), get: (id) => keys.find((key) => key.id === id) }
}

export const sealingKeys = keysOf('key of the fixture')

/** A session of the fixture's user, made at the start. */
export function sessionOf(members: Partial<Session> = {}): Session {
  return {
    id: 'c2Vzc2lvbi1vZi1maXh0dXI',
    host,
    clientId: webClient,
    tenantId: ids.contoso,
    userId: ids.user,
    subject: 'subject-of-the-web-application',
    keyId: 'kid-1',
    signedInAt: startSeconds,
    checkedAt: startSeconds,
    softEnd: startSeconds + 3_600,
    hardEnd: startSeconds + 8 * 3_600,
    roles: [],
    groups: [],
    groupsLookedAt: fingerprintOf([]),
    groupsOverage: false,
    guest: false,
    authContexts: [],
    name: 'Adele Vance',
    preferredUsername: 'adele@contoso.example',
    email: undefined,
    entraSessionId: '00000000-0000-4000-8000-0000000000dd',
    loginHint: 'O.CiRkMDAwMDAwMC0wMDAw',
    ...members,
  }
}

/** The value of the cookie of a session. */
export function cookieOf(members: Partial<Session> = {}, keys = sealingKeys): string {
  const value = sealSession(keys, sessionOf(members))
  if (value === undefined) throw new Error('the session does not fit')
  return value
}

/** Section `signIn` of a configuration file. */
export const signIn = {
  clientId: webClient,
  tenant: 'contoso',
  credential: { clientSecretFile: '/nowhere/secret' },
  hosts: [host, otherHost],
}

/** Headers of a request with a session, as the action sends them. */
export function withSession(
  value: string,
  headers: Readonly<Record<string, string | string[]>> = {},
): Readonly<Record<string, string | string[]>> {
  return { 'X-Entra-Auth-Session': value, 'X-Forwarded-Host': host, ...headers }
}
