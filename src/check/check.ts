import type { Config } from '../config/config.ts'
import type { CheckReport, Finding } from './report.ts'
import { checkSettings } from './settings.ts'
import { checkSignIn, type SignInCheckContext } from './sign-in.ts'
import { checkStore, type DescribeStore } from './store.ts'
import { checkTenant, type TenantCheckContext } from './tenants.ts'

/** What a check needs from outside. */
export interface CheckContext extends TenantCheckContext {
  /** Asks no authority. */
  readonly offline: boolean
  /** Where sign-in is looked at. */
  readonly signIn: Omit<SignInCheckContext, 'clock' | 'createHttp' | 'offline' | 'onProgress'>
  /** Asks the store that replicas share; not asked offline. */
  readonly describeStore?: DescribeStore
  /** Told what is being done, a line each. */
  readonly onProgress: (line: string) => void
}

/** Checks a loaded configuration and the authorities that it names. Never rejects. */
export async function checkDeployment(config: Config, context: CheckContext): Promise<CheckReport> {
  const { offline, onProgress, runtime } = context
  const tenants = await Promise.all(
    (offline ? [] : config.tenants).map((tenant) => {
      onProgress(`asking ${tenant.authority} for the keys of ${tenant.name}`)
      return checkTenant(tenant, config, context)
    }),
  )
  const findings = [
    ...tenants.flatMap((tenant) => tenant.findings),
    ...checkSettings(config, runtime.clock()),
    ...(await checkSignIn(config, {
      ...context.signIn,
      clock: runtime.clock,
      createHttp: () => context.createHttp(() => {}),
      offline,
      onProgress,
    })),
    ...(config.store
      ? await checkStore(config.store, offline ? undefined : context.describeStore)
      : []),
  ]
  return {
    verdict: judge(findings),
    policies: config.policies.length,
    tenants: tenants.map(({ report }) => report),
    findings,
  }
}

/** A problem counts before an authority that is only unreachable: waiting does not end it. */
function judge(findings: readonly Finding[]): CheckReport['verdict'] {
  const has = (level: Finding['level']) => findings.some((finding) => finding.level === level)
  if (has('problem')) return 'problems'
  return has('unreachable') ? 'unreachable' : 'ok'
}
