import { oneLine } from '../config/problems.ts'
import { wrap } from '../terminal.ts'
import type { CheckReport, Finding, TenantReport, VersionReport } from './report.ts'
import { describeOffset } from './tenants.ts'

/** A report for people; its last line is the summary. */
export function formatReport(report: CheckReport): string {
  const lines = [
    'configuration is valid',
    ...report.tenants.flatMap(formatTenant),
    ...(report.findings.length > 0 ? [''] : []),
    ...report.findings.flatMap(formatFinding),
    '',
    summarize(report),
  ]
  return `${lines.map(oneLine).join('\n')}\n`
}

function formatTenant({ name, id, authority, versions, clockOffsetSeconds }: TenantReport) {
  return [
    `tenant ${name} (${id}) at ${authority}`,
    ...versions.flatMap(formatVersion),
    clockOffsetSeconds === null
      ? '  clock   not compared'
      : `  clock   ${clockOffsetSeconds === 0 ? 'the same as' : `${describeOffset(clockOffsetSeconds)} of`} that of the authority`,
  ]
}

function formatVersion({ version, state, issuer, keys, rejected, error }: VersionReport) {
  const label = `  v${version}    `
  if (state === 'absent')
    return [`${label}no such endpoint: this authority issues v2.0 tokens only`]
  if (state !== 'ready') return wrap(label, `FAILED: ${error}`, 0, 10)
  return [
    `${label}issuer ${issuer}`,
    ...wrap('', `${keys.length} usable keys: ${keys.join(', ')}`, 0, 10),
    ...rejected.map(
      ({ id, reason }) => `          rejected: ${id ?? 'a key without kid'}, ${reason}`,
    ),
  ]
}

function formatFinding({ level, path, message, hint }: Finding): string[] {
  const label = level === 'note' ? 'note' : level.toUpperCase()
  return [...wrap(label, `${path}: ${message}.`, 0), ...wrap('', hint, 0)]
}

function summarize({ verdict, tenants, policies, findings }: CheckReport): string {
  const count = (level: Finding['level'], word: string) => {
    const found = findings.filter((finding) => finding.level === level).length
    return `${found} ${word}${found === 1 ? '' : 's'}`
  }
  const asked = tenants.length === 0 ? 'no authority asked' : `tenants asked: ${tenants.length}`
  return `${verdict}: ${count('problem', 'problem')}, ${count('unreachable', 'unreachable issuer')}, ${count('warning', 'warning')}; policies: ${policies}, ${asked}`
}
