import { oneLine } from '../config/problems.ts'
import { formatJson, plainPage, type Screen, type Style, wrap } from '../terminal.ts'
import { type Finding, findingCodes, type Place, type Severity } from './finding.ts'

/** What was compared, and with what result. */
export interface DriftReport {
  readonly findings: readonly Finding[]
  /** Findings that the operator has taken out. */
  readonly ignored: number
}

/** Whether anything but information was found. */
export function hasDrift({ findings }: DriftReport): boolean {
  return findings.some(({ severity }) => severity !== 'info')
}

/** Errors first, then by place, then in the order of the table. */
function sortFindings(findings: readonly Finding[]): Finding[] {
  const order: readonly Severity[] = ['error', 'warning', 'info']
  return findings.toSorted(
    (a, b) =>
      order.indexOf(a.severity) - order.indexOf(b.severity) ||
      compare(placeKey(a.place), placeKey(b.place)) ||
      findingCodes.indexOf(a.code) - findingCodes.indexOf(b.code),
  )
}

const styles: Readonly<Record<Severity, Style>> = {
  error: 'bad',
  warning: 'warning',
  info: 'heading',
}

/** The report for people: three lines a finding, more on a terminal of few columns, then the counts. */
export function formatReport(report: DriftReport, screen: Screen = plainPage): string {
  const text = (sentence: string) =>
    screen.isTerminal ? wrap('', sentence, 2, 0, { screen }) : [`  ${oneLine(sentence)}`]
  const lines = sortFindings(report.findings).flatMap(
    ({ severity, code, place, message, hint }) => [
      `${screen.paint(styles[severity], severity)} ${oneLine(`${code}: ${formatPlace(place)}`)}`,
      ...text(message),
      ...text(hint),
    ],
  )
  return [...lines, formatCounts(report, screen), ''].join('\n')
}

/** The report for programs. */
export function reportAsJson(report: DriftReport): string {
  const findings = sortFindings(report.findings)
  const counts = { ...countBySeverity(findings), ignored: report.ignored }
  return formatJson({ drift: hasDrift(report), counts, findings })
}

function formatPlace(place: Place): string {
  if ('policy' in place) return `policy ${place.policy}`
  if ('app' in place) return `registration ${place.app}`
  const section = place.section === undefined ? '' : ` (${place.section})`
  return `${place.file}:${place.line}${section}`
}

function formatCounts(report: DriftReport, screen: Screen): string {
  const { error, warning, info } = countBySeverity(report.findings)
  const parts = [plural(error, 'error'), plural(warning, 'warning')]
  if (info > 0) parts.push(`${info} for information`)
  if (report.ignored > 0) parts.push(`${report.ignored} ignored`)
  const result = hasDrift(report) ? screen.paint('bad', 'drift') : screen.paint('good', 'no drift')
  return `${result}: ${parts.join(', ')}`
}

function countBySeverity(findings: readonly Finding[]): Record<Severity, number> {
  const count = (severity: Severity) => findings.filter((one) => one.severity === severity).length
  return { error: count('error'), warning: count('warning'), info: count('info') }
}

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}

function placeKey(place: Place): string {
  if ('file' in place) return `0 ${place.file} ${String(place.line).padStart(8, '0')}`
  return 'policy' in place ? `1 ${place.policy}` : `2 ${place.app}`
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
