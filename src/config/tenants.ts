import { type Authority, checkAuthority, cloudAuthority } from './authority.ts'
import type { CloudName, TenantConfig } from './config.ts'
import { checkGuid } from './guid.ts'
import { formatPath, type Path, quote, type Report } from './problems.ts'
import { entriesOf, mappingOf, memberOf, textOf } from './values.ts'

const PLACEHOLDERS = new Set(['common', 'organizations', 'consumers'])

/** Checks the section `tenants`; `cloud` gives the authority to tenants without their own. */
export function checkTenants(section: unknown, cloud: unknown, report: Report): TenantConfig[] {
  const firstWithId = new Map<string, string>()
  return entriesOf(section).map(([name, value]) => {
    const path: Path = ['tenants', name]
    const idPath = mappingOf(value) === undefined ? path : [...path, 'id']
    const id = checkTenantId(mappingOf(value) ? memberOf(value, 'id') : value, idPath, report)
    const earlier = firstWithId.get(id)
    if (earlier !== undefined) {
      report(
        idPath,
        `is the same tenant as ${formatPath(['tenants', earlier])}`,
        'Keep one name for each tenant.',
      )
    } else if (id !== '') firstWithId.set(id, name)
    const appId = memberOf(value, 'appId')
    return {
      name,
      id,
      ...authorityOf(memberOf(value, 'authority'), cloud, [...path, 'authority'], report),
      ...(appId === undefined
        ? {}
        : {
            appId: checkGuid(
              appId,
              [...path, 'appId'],
              'Write the client id of the API (registration, page Overview).',
              report,
            ),
          }),
    }
  })
}

function checkTenantId(value: unknown, path: Path, report: Report): string {
  const text = textOf(value)
  if (text !== undefined && PLACEHOLDERS.has(text.toLowerCase())) {
    report(
      path,
      `is the placeholder ${quote(text)}, which stands for every tenant in the world`,
      'Write the id (GUID) of each tenant that you trust.',
    )
    return ''
  }
  return checkGuid(
    value,
    path,
    'Write the tenant id, not a domain name; "az account show --query tenantId" prints it.',
    report,
  )
}

function authorityOf(value: unknown, cloud: unknown, path: Path, report: Report): Authority {
  const text = textOf(value)
  const known: CloudName = cloud === 'usgov' || cloud === 'china' ? cloud : 'public'
  // Empty text is the schema's to report.
  if (text === undefined || text === '') return cloudAuthority(known)
  return checkAuthority(text, path, report) ?? cloudAuthority(known)
}
