/**
 * Alert rules and dashboard as plain files, for those who run without the chart: made from the files of
 * the chart, with HAProxy's side added. `npm run chart` writes them; a test compares.
 */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parse, stringify } from 'yaml'

const root = resolve(import.meta.dirname, '..')
const chart = join(root, 'charts', 'haproxy-entra-auth')

/** The files by path, with the text that they should have. */
export function deriveMonitoringFiles(): ReadonlyMap<string, string> {
  const read = (...path: string[]) => readFileSync(join(chart, ...path), 'utf8')
  const { monitoring } = parse(read('values.yaml'))
  const template = read('templates', 'prometheusrule.yaml')
  return new Map([
    [join(root, 'monitoring', 'alerts.yaml'), plainRules(template, monitoring.prometheusRule)],
    [
      join(root, 'monitoring', 'dashboard.json'),
      plainDashboard(read('files', 'haproxy-entra-auth.json')),
    ],
  ])
}

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

/** A rule file of Prometheus, which `rule_files` names. */
function plainRules(
  template: string,
  { refusedPercent, runbookUrl }: { refusedPercent: number; runbookUrl: string },
): string {
  const body = /^ {6}rules:\n([\s\S]*?)^ *\{\{- with \.extraRules/m.exec(template)?.[1]
  if (body === undefined) throw new Error('prometheusrule.yaml has no rules')
  const text = body
    .replaceAll('{ {{- $pods -}} }', '')
    .replaceAll('{ {{- $pods -}} ,', '{')
    .replaceAll('{{ .refusedPercent }}', String(refusedPercent))
    .replaceAll(/\{\{ `(.*?)` \}\}/g, '$1')
    .replaceAll(/\{\{ printf "%s(#\w+)" \.runbookUrl \| quote \}\}/g, `"${runbookUrl}$1"`)
    .replaceAll(
      'Renew the Secret of tls.existingSecret; the pods take it in without a restart.',
      'Renew the file of listen.tls.certificateFile; the service reads it without a restart.',
    )
  const verifier = parse(text) as readonly Rule[]
  const groups = [
    { name: 'haproxy-entra-auth', rules: verifier.map(withTrimmedExpression) },
    {
      name: 'haproxy-entra-auth-haproxy',
      rules: haproxyRules.map((rule) => ({
        ...rule,
        annotations: {
          ...rule.annotations,
          runbook_url: `${runbookUrl}#${rule.alert.toLowerCase()}`,
        },
      })),
    },
  ]
  return `# Alert rules for Prometheus (rule_files). Made by "npm run chart"; the page docs/metrics.md says more.\n${stringify({ groups }, { lineWidth: 0 })}`
}

function withTrimmedExpression(rule: Rule): Rule {
  return { ...rule, expr: rule.expr.trim().replaceAll(/\s*\n\s*/g, ' ') }
}

/** Of the metrics page of the action, which counts in HAProxy. */
const haproxyRules: readonly Rule[] = [
  {
    alert: 'EntraAuthActionRefuses',
    expr: 'sum by (instance) (rate(entra_auth_action_refusals_total{reason=~"verifier_unavailable|bad_setup|internal_error"}[5m])) > 0',
    for: '2m',
    labels: { severity: 'critical' },
    annotations: {
      summary:
        'HAProxy {{ $labels.instance }} gets no usable answer from the verifier and refuses requests.',
      description:
        'The label reason says why. Look at the server of "listen entra-verifier", at the caller key, and at the log of HAProxy.',
    },
  },
  {
    alert: 'EntraAuthPollsFail',
    expr: 'rate(entra_auth_action_polls_bad_total[5m]) > rate(entra_auth_action_polls_good_total[5m])',
    for: '2m',
    labels: { severity: 'warning' },
    annotations: {
      summary:
        'HAProxy {{ $labels.instance }} does not get the revocations, so it caches no verdict.',
      description:
        'Each request is a call to the verifier then. Look at the verifier and at the network between.',
    },
  },
]

/** Panels of the action: title, description, queries with their legends, unit. */
const haproxyPanels: readonly (readonly [
  string,
  string,
  readonly (readonly [string, string])[],
  string,
])[] = [
  [
    'HAProxy: cache hits',
    'Share of requests that HAProxy answers from its cache, without a call to the verifier.',
    [
      [
        'sum by (instance) (rate(entra_auth_action_cache_hits_total[$__rate_interval])) / sum by (instance) (rate(entra_auth_action_requests_total[$__rate_interval]))',
        '{{instance}}',
      ],
    ],
    'percentunit',
  ],
  [
    'HAProxy: refusals by reason',
    'Requests that the action refused.',
    [['sum by (reason) (rate(entra_auth_action_refusals_total[$__rate_interval]))', '{{reason}}']],
    'reqps',
  ],
  [
    'HAProxy: polls of revocations',
    'Good and bad answers. Without good ones HAProxy caches no verdict.',
    [
      [
        'sum by (instance) (rate(entra_auth_action_polls_good_total[$__rate_interval]))',
        'good {{instance}}',
      ],
      [
        'sum by (instance) (rate(entra_auth_action_polls_bad_total[$__rate_interval]))',
        'bad {{instance}}',
      ],
    ],
    'reqps',
  ],
  [
    'HAProxy: age of the last poll',
    'Of the thread that answered. An idle thread may be older than the others.',
    [['entra_auth_action_poll_age_seconds', '{{instance}}']],
    's',
  ],
  [
    'HAProxy: time of a call',
    'Average time of calls to the verifier.',
    [
      [
        'rate(entra_auth_action_call_seconds_sum[$__rate_interval]) / rate(entra_auth_action_call_seconds_count[$__rate_interval])',
        '{{instance}}',
      ],
    ],
    's',
  ],
  [
    'HAProxy: cached verdicts',
    'Entries of the cache, and how many made room for others.',
    [
      ['entra_auth_action_cache_entries', 'entries {{instance}}'],
      ['rate(entra_auth_action_cache_evictions_total[$__rate_interval])', 'evictions {{instance}}'],
    ],
    'short',
  ],
]

const datasource = { type: 'prometheus', uid: '$datasource' }

/** The dashboard with the labels that every Prometheus has, `job` and `instance`, in place of pods. */
function plainDashboard(text: string): string {
  const plain = text
    .replaceAll('namespace=\\"$namespace\\"', 'job=~\\"$job\\"')
    .replaceAll('pod=~\\"$pod\\"', 'instance=~\\"$instance\\"')
    .replaceAll('by (pod)', 'by (instance)')
    .replaceAll('{{pod}}', '{{instance}}')
  const dashboard = JSON.parse(plain)
  dashboard.templating.list = dashboard.templating.list.map((variable: { name: string }) => {
    if (variable.name === 'namespace') {
      return {
        ...variable,
        name: 'job',
        label: 'Job',
        query: 'label_values(entra_auth_token_cache_entries, job)',
        includeAll: true,
        multi: true,
        allValue: '.+',
      }
    }
    if (variable.name !== 'pod') return variable
    return {
      ...variable,
      name: 'instance',
      label: 'Instance',
      query: 'label_values(entra_auth_token_cache_entries{job=~"$job"}, instance)',
    }
  })
  const places: readonly { y: number; h: number }[] = dashboard.panels.map(
    ({ gridPos }: { gridPos: { y: number; h: number } }) => gridPos,
  )
  const bottom = Math.max(...places.map(({ y, h }) => y + h))
  const added = haproxyPanels.map(([title, description, queries, unit], index) => ({
    id: 100 + index,
    type: 'timeseries',
    title,
    description,
    datasource,
    gridPos: { x: (index % 3) * 8, y: bottom + Math.floor(index / 3) * 8, w: 8, h: 8 },
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    targets: queries.map(([expr, legendFormat], number) => ({
      datasource,
      expr,
      legendFormat,
      refId: 'ABC'.charAt(number),
    })),
  }))
  return `${JSON.stringify({ ...dashboard, panels: [...dashboard.panels, ...added] }, undefined, 2)}\n`
}
