import { readFileSync } from 'node:fs'
import type { Config } from '../../src/config/config.ts'
import type { Finding } from '../../src/drift/finding.ts'
import { checkHaproxy } from '../../src/drift/haproxy.ts'
import { parseHaproxyFiles } from '../../src/drift/haproxy-file.ts'
import { type Registration, readRegistration } from '../../src/drift/registration.ts'
import { checkRegistration } from '../../src/drift/registration-checks.ts'
import { checkSignInRegistration } from '../../src/drift/sign-in-registration.ts'
import { configOf } from '../config/fixture.ts'

/** A file from fixtures/. */
export function fixture(name: string): string {
  return readFileSync(new URL(`fixtures/${name}`, import.meta.url), 'utf8')
}

export const cleanConfig: Config = await configOf(fixture('config.yaml'))

/** `text` with one piece replaced; throws where the piece is not there exactly once. */
export function replaced(text: string, piece: string, by: string): string {
  if (text.split(piece).length !== 2) throw new Error(`not there once: ${piece}`)
  return text.replace(piece, () => by)
}

/** The findings in one HAProxy file. */
export function haproxyFindings(text: string, config: Config = cleanConfig): readonly Finding[] {
  return checkHaproxy(parseHaproxyFiles([{ name: 'haproxy.cfg', text }]), config).findings
}

/** A finding as `code at what is on that line`, so that a test says where without numbers. */
export function shown({ code, place }: Finding, text: string): string {
  if ('policy' in place) return `${code} at policy ${place.policy}`
  if ('app' in place) return `${code} at the registration`
  return `${code} at ${text.split('\n')[place.line - 1]?.trim()}`
}

/** The clean registration, changed. Its members are as loose as JSON. */
// biome-ignore lint/suspicious/noExplicitAny: changes give the registration shapes that its type forbids
export function registration(change: (app: any) => void = () => {}): Registration {
  const app = JSON.parse(fixture('app.json'))
  change(app)
  const read = readRegistration(JSON.stringify(app))
  if (typeof read === 'string') throw new Error(read)
  return read
}

/** When each registration is looked at. */
export const nowMs = Date.parse('2026-01-15T12:00:00Z')

/** The codes and places found in a registration. */
export function registrationFindings(app: Registration, config: Config = cleanConfig): string[] {
  const found = [
    ...checkRegistration(app, config.policies, config),
    ...checkSignInRegistration(app, config, nowMs),
  ]
  return found.map((one) => shown(one, ''))
}
