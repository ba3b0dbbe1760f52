import { createHash } from 'node:crypto'
import { runAtOnce, type Steps } from '../steps.ts'
import type { LiveConfig, PolicyConfig } from './config.ts'

// Left out by name, so that a member added later counts until someone decides that it does not. The
// caller key is left out also because the version is public.
const WITHOUT_EFFECT_ON_VERDICTS = new Set([
  'listen',
  'metrics',
  'admin',
  'callerKey',
  'nextCallerKey',
  'keyStore',
  'revocationFile',
  'store',
  'overload',
  'log',
  'tracing',
])

/** The same of the section `signIn`: replicas have addresses of their own. */
const WITHOUT_EFFECT_ON_SESSIONS = new Set(['listen', 'sealingKeys', 'credential', 'page'])

/**
 * A short stable hash (16 base64url characters) of everything in the configuration that can change
 * a verdict or a header. The order of keys, tenants, policies and ids does not matter.
 */
export function configVersion(config: LiveConfig): string {
  return runAtOnce(configVersionInSteps(config))
}

/** The same for a reload, which must not hold requests up. */
export function* configVersionInSteps(config: LiveConfig): Steps<string> {
  const { tenants, policies, signIn, ...rest } = config
  const relevant = withoutNames(rest, WITHOUT_EFFECT_ON_VERDICTS)
  const sessions = signIn && withoutNames(signIn, WITHOUT_EFFECT_ON_SESSIONS)
  const texts: string[] = []
  const digests = new Map<readonly string[], string>()
  for (const policy of policies) {
    texts.push(JSON.stringify(canonical({ ...policy, tenants: digestOnce(policy, digests) })))
    yield
  }
  return digest([
    canonical({ ...relevant, signIn: sessions }),
    // A tenant's name is only a handle inside the file.
    tenants.map(({ name: _, ...tenant }) => JSON.stringify(canonical(tenant))).sort(),
    texts.sort(),
  ]).slice(0, 16)
}

function withoutNames(value: object, names: ReadonlySet<string>): object {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.has(name)))
}

/** Stands for the tenants of a policy: hundreds, and the same ones for all that name none. */
function digestOnce({ tenants }: PolicyConfig, known: Map<readonly string[], string>): string {
  let found = known.get(tenants)
  if (found === undefined) {
    found = digest(canonical(tenants))
    known.set(tenants, found)
  }
  return found
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('base64url')
}

// Lists of words are sets; the order of grants stays, because it may decide which reason is given.
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(canonical)
    return items.every((item) => typeof item === 'string') ? items.sort() : items
  }
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, member]) => [key, canonical(member)])
}
