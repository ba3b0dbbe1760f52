import type { Config, TenantConfig } from '../config/config.ts'
import { formatPath } from '../config/problems.ts'
import { type EndpointVersion, metadataUrl } from '../keys/discovery.ts'
import type { Http, OnReply } from '../keys/http.ts'
import { createIssuerKeys, type IssuerKeys, type KeysRuntime } from '../keys/issuer-keys.ts'
import type { Finding, TenantReport, VersionReport } from './report.ts'

/** What asking the authorities needs. */
export interface TenantCheckContext {
  readonly runtime: KeysRuntime
  readonly createHttp: (onReply: OnReply) => Http
}

/** One tenant with what is wrong with it. */
export interface CheckedTenant {
  readonly report: TenantReport
  readonly findings: readonly Finding[]
}

/** Offset of the clock that needs no word, unless less is admitted. */
const clockWarnSeconds = 60

/** Asks the authority of a tenant for all that the service will ask it for, in the same way. */
export async function checkTenant(
  tenant: TenantConfig,
  { clockSkewSeconds }: Pick<Config, 'clockSkewSeconds'>,
  context: TenantCheckContext,
): Promise<CheckedTenant> {
  const { clock } = context.runtime
  let clockOffsetSeconds: number | null = null
  const checked = await Promise.all(
    (['2.0', '1.0'] as const).map((version) =>
      checkVersion(tenant, version, context, ({ headers }) => {
        const dateMs = readDate(headers)
        if (dateMs !== undefined) clockOffsetSeconds = offsetSeconds(clock(), dateMs)
      }),
    ),
  )
  return {
    report: {
      name: tenant.name,
      id: tenant.id,
      authority: tenant.authority,
      versions: checked.map(({ report }) => report),
      clockOffsetSeconds,
    },
    findings: [
      ...checked.flatMap(({ findings }) => findings),
      ...checkClock(tenant, clockOffsetSeconds, clockSkewSeconds),
    ],
  }
}

async function checkVersion(
  tenant: TenantConfig,
  version: EndpointVersion,
  { runtime, createHttp }: TenantCheckContext,
  onReply: OnReply,
): Promise<{ report: VersionReport; findings: Finding[] }> {
  let lastStatus: number | undefined
  const http = createHttp((reply) => {
    lastStatus = reply.status
    onReply(reply)
  })
  try {
    const issuerKeys = createIssuerKeys(tenant, version, http, runtime)
    await issuerKeys.refresh()
    const report = reportVersion(tenant, version, issuerKeys)
    return { report, findings: judgeVersion(tenant, report, lastStatus) }
  } finally {
    await http.close()
  }
}

function reportVersion(
  tenant: TenantConfig,
  version: EndpointVersion,
  issuerKeys: IssuerKeys,
): VersionReport {
  const { state, error } = issuerKeys.state()
  const { added = [], rejected = [] } = issuerKeys.lastMerge ?? {}
  return {
    version,
    metadata: metadataUrl(tenant, version),
    state,
    issuer: issuerKeys.issuer ?? null,
    keys: added,
    rejected: rejected.map(({ id, failure }) => ({ id: id ?? null, reason: failure })),
    error: error ?? null,
  }
}

function judgeVersion(
  tenant: TenantConfig,
  { version, state, error, metadata, issuer }: VersionReport,
  lastStatus: number | undefined,
): Finding[] {
  if (state === 'ready' || state === 'absent') return []
  const path = formatPath(['tenants', tenant.name])
  const message = `v${version} tokens cannot be verified: ${error}`
  if (lastStatus === undefined || lastStatus >= 500) {
    const hint = `Try "curl ${metadata}" on this machine: DNS, firewall, HTTPS_PROXY and NODE_EXTRA_CA_CERTS are the usual causes.`
    return [{ level: 'unreachable', path, message, hint }]
  }
  const hint =
    issuer === null && lastStatus >= 400
      ? 'The authority does not know this tenant: check its id, and "cloud" or "authority".'
      : 'Another program answers, or the authority of another tenant. Check "cloud", "authority" and any proxy between.'
  return [{ level: 'problem', path, message, hint }]
}

/** Beyond the clock skew that is admitted, good tokens are refused. */
function checkClock(
  tenant: TenantConfig,
  offset: number | null,
  clockSkewSeconds: number,
): Finding[] {
  // One second may be that of the header.
  const admittedSeconds = Math.max(1, clockSkewSeconds)
  if (offset === null || Math.abs(offset) <= Math.min(clockWarnSeconds, admittedSeconds)) return []
  const fails = Math.abs(offset) > admittedSeconds
  return [
    {
      level: fails ? 'problem' : 'warning',
      path: formatPath(['tenants', tenant.name]),
      message: `the clock of this machine is ${describeOffset(offset)} of that of the authority`,
      hint: fails
        ? 'Good tokens are refused and expired ones admitted: run a time service such as chrony.'
        : 'Run a time service such as chrony.',
    },
  ]
}

/** A `Date` header has whole seconds, so less than one says nothing. */
function offsetSeconds(nowMs: number, dateMs: number): number {
  const seconds = Math.trunc((nowMs - dateMs) / 1000)
  return Math.abs(seconds) <= 1 ? 0 : seconds
}

/** "4 s ahead", "2 s behind". */
export function describeOffset(seconds: number): string {
  return `${Math.abs(seconds)} s ${seconds < 0 ? 'behind' : 'ahead'}`
}

/** The time at which a reply was made; one from a cache is as much older as its `Age` says. */
function readDate(headers: Headers): number | undefined {
  const dateMs = Date.parse(headers.get('date') ?? '')
  if (Number.isNaN(dateMs)) return undefined
  const age = Number(headers.get('age') ?? 0)
  return dateMs + (Number.isFinite(age) ? age * 1000 : 0)
}
