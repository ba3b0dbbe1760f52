import { oneLine } from '../config/problems.ts'
import { plainPage, type Screen, type Style, wrap } from '../terminal.ts'
import type { CheckReport, Finding, TenantReport, VersionReport } from './report.ts'
import { describeOffset } from './tenants.ts'

/** A report for people; its last line is the summary. */
export function formatReport(report: CheckReport, screen: Screen = plainPage): string {
  const lines = [
    'configuration is valid',
    ...report.tenants.flatMap((tenant) => formatTenant(tenant, screen)).map(oneLine),
    ...(report.findings.length > 0 ? [''] : []),
    ...report.findings.flatMap((finding) => formatFinding(finding, screen)),
    '',
    summarize(report, screen),
  ]
  return `${lines.join('\n')}\n`
}

function formatTenant(
  { name, id, authority, versions, clockOffsetSeconds }: TenantReport,
  screen: Screen,
) {
  return [
    `tenant ${name} (${id}) at ${authority}`,
    ...versions.flatMap((version) => formatVersion(version, screen)),
    clockOffsetSeconds === null
      ? '  clock   not compared'
      : `  clock   ${clockOffsetSeconds === 0 ? 'the same as' : `${describeOffset(clockOffsetSeconds)} of`} that of the authority`,
  ]
}

function formatVersion(
  { version, state, issuer, keys, rejected, error }: VersionReport,
  screen: Screen,
) {
  const label = `  v${version}    `
  if (state === 'absent')
    return [`${label}no such endpoint: this authority issues v2.0 tokens only`]
  if (state !== 'ready') return wrap(label, `FAILED: ${error}`, 0, 10, { screen })
  return [
    `${label}issuer ${issuer}`,
    ...wrap('', `${keys.length} usable keys: ${keys.join(', ')}`, 0, 10, { screen }),
    ...rejected.map(
      ({ id, reason }) => `          rejected: ${id ?? 'a key without kid'}, ${reason}`,
    ),
  ]
}

const styles: Readonly<Record<Finding['level'], Style | undefined>> = {
  problem: 'bad',
  unreachable: 'bad',
  warning: 'warning',
  note: undefined,
}

function formatFinding({ level, path, message, hint }: Finding, screen: Screen): string[] {
  const label = level === 'note' ? 'note' : level.toUpperCase()
  const layout = { screen, style: styles[level] }
  return [...wrap(label, `${path}: ${message}.`, 0, 13, layout), ...wrap('', hint, 0, 13, layout)]
}

function summarize({ verdict, tenants, policies, findings }: CheckReport, screen: Screen): string {
  const count = (level: Finding['level'], word: string) => {
    const found = findings.filter((finding) => finding.level === level).length
    return `${found} ${word}${found === 1 ? '' : 's'}`
  }
  const asked = tenants.length === 0 ? 'no authority asked' : `tenants asked: ${tenants.length}`
  const style = verdict === 'ok' ? 'good' : 'bad'
  const counts = `${count('problem', 'problem')}, ${count('unreachable', 'unreachable issuer')}, ${count('warning', 'warning')}; policies: ${policies}, ${asked}`
  if (!screen.isTerminal) return `${screen.paint(style, verdict)}: ${counts}`
  const lines = wrap(`${verdict}:`, counts, 0, verdict.length + 2, { screen, style })
  return lines.join('\n')
}
