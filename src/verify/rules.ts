import type { LiveConfig } from '../config/config.ts'
import { configVersionInSteps } from '../config/version.ts'
import { createHeaderSet, type HeaderSet } from '../identity/headers.ts'
import type { Authorities } from '../keys/authority.ts'
import { compilePolicy, type Policy } from '../policy/compile.ts'
import { compileSessionRules, type SessionRules } from '../session/rules.ts'
import { runAtOnce, type Steps } from '../steps.ts'
import { keysThatCount } from './caller.ts'
import { describeResources, type ResourceMetadata } from './resource-metadata.ts'

/** Everything that the configuration says about verdicts; a reload replaces it as a whole. */
export interface Rules {
  readonly authorities: Authorities
  readonly policies: ReadonlyMap<string, Policy>
  readonly resources: ReadonlyMap<string, ResourceMetadata>
  readonly headerSet: HeaderSet
  readonly clockSkewSeconds: number
  /** Absent where nobody signs in with a browser. */
  readonly sessions: SessionRules | undefined
  /** The key that HAProxy sends, and the next one during a rotation. Empty: no key is required. */
  readonly callerKeys: readonly string[]
  /** Hash of all that can change a verdict or a header. */
  readonly version: string
}

/** Compiles the rules, with the authorities that already run. */
export function compileRules(config: LiveConfig, authorities: Authorities): Rules {
  return runAtOnce(compileRulesInSteps(config, authorities))
}

/** The same for a reload, which must not hold requests up. */
export function* compileRulesInSteps(config: LiveConfig, authorities: Authorities): Steps<Rules> {
  const policies = new Map<string, Policy>()
  for (const policy of config.policies) {
    policies.set(policy.name, compilePolicy(policy))
    yield
  }
  const version = yield* configVersionInSteps(config)
  return {
    authorities,
    policies,
    resources: describeResources(config),
    headerSet: createHeaderSet(config.identityHeaders),
    clockSkewSeconds: config.clockSkewSeconds,
    sessions: compileSessionRules(config),
    callerKeys: keysThatCount(config.callerKey, config.nextCallerKey),
    version,
  }
}

/**
 * The rules with a version that names the sealing keys too. HAProxy drops its cache when the version changes, and with
 * it what a removed key has sealed. A replica that started after the removal has no memory of the key, so the version
 * says which keys there are, and not which ones have gone.
 */
export function withKeyMark(rules: () => Rules, markOfKeys: () => string): () => Rules {
  let known: { readonly from: Rules; readonly mark: string; readonly rules: Rules } | undefined
  return () => {
    const from = rules()
    const mark = markOfKeys()
    if (mark === '') return from
    if (known?.from !== from || known.mark !== mark) {
      known = { from, mark, rules: { ...from, version: `${from.version}.${mark}` } }
    }
    return known.rules
  }
}
