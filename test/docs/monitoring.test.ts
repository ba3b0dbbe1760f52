/** The plain alert rules and the dashboard: made from the chart, and about metrics that exist. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { after, describe, it } from 'node:test'
import { parse } from 'yaml'
import { deriveMonitoringFiles } from '../../scripts/monitoring.ts'
import { startService } from '../support/service.ts'
import { startSignIn } from '../support/sign-in.ts'

const root = resolve(import.meta.dirname, '../..')
const service = await startService()
after(() => service.close())
const { body } = await service.app.metrics.inject('/metrics')
/** Only a service with sign-in has the series of it. */
const withSignIn = await startSignIn()
after(() => withSignIn.close())
const { body: signInBody } = await withSignIn.app.metrics.inject('/metrics')

const read = (path: string) => readFileSync(resolve(root, path), 'utf8')
const rules: readonly {
  alert: string
  expr: string
  labels: { severity: string }
  annotations: { summary: string; description: string; runbook_url: string }
}[] = parse(read('monitoring/alerts.yaml')).groups.flatMap(
  (group: { rules: object[] }) => group.rules,
)
const dashboard = JSON.parse(read('monitoring/dashboard.json')) as {
  templating: { list: { name: string }[] }
  panels: {
    id: number
    title: string
    gridPos: { x: number; y: number; w: number; h: number }
    targets: { expr: string }[]
  }[]
}
const expressions = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => [title, expr] as const),
  ),
]

describe('the plain files for Prometheus and Grafana', () => {
  it('are as "npm run chart" makes them', () => {
    for (const [path, text] of deriveMonitoringFiles()) {
      assert.equal(readFileSync(path, 'utf8'), text, basename(path))
    }
  })

  it('ask for metrics that the service or the action has', () => {
    const offered = new Set(
      [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name = '', type]) =>
        type === 'histogram' ? [`${name}_bucket`] : [name],
      ),
    )
    const lua = read('haproxy-lua/entra-auth.lua')
    const action = new Set(
      [...lua.matchAll(/"((?:\w+_)?(?:total|entries|bytes|seconds|usable|revocations))"/g)].map(
        ([, name = '']) => `entra_auth_action_${name}`,
      ),
    )
    const found = new Set<string>()
    for (const [name, expr] of expressions) {
      const metrics = expr.match(/\b(?:entra_auth|nodejs|process)_\w+/g) ?? []
      assert.ok(metrics.length > 0, name)
      for (const metric of metrics) {
        const base = metric.replace(/_(sum|count)$/, '')
        assert.ok(offered.has(metric) || action.has(base), `${name}: ${metric}`)
        found.add(metric)
      }
    }
    assert.ok(
      found.has('entra_auth_action_cache_hits_total') && found.has('entra_auth_verdicts_total'),
    )
  })

  it('have no placeholder of Helm and no label of Kubernetes left', () => {
    for (const [name, expr] of expressions) {
      assert.doesNotMatch(expr, /\$pods|\{\{|namespace|\bpod\b/, name)
    }
    for (const { alert, annotations } of rules) {
      assert.match(annotations.summary, /\.$/, alert)
      assert.match(annotations.description, /\.$/, alert)
      assert.doesNotMatch(
        JSON.stringify(annotations),
        /\{\{(?! \$labels\.\w+ \}\})|existingSecret/,
        alert,
      )
    }
    assert.deepEqual(
      dashboard.templating.list.map(({ name }) => name),
      ['datasource', 'job', 'instance'],
    )
  })

  it('have a series of 0 for each label value that an alert compares with, before anything happened', () => {
    const wanted = rules.flatMap(({ expr }) =>
      [...expr.matchAll(/(entra_auth_(?!action_)\w+)\{([^}]*)\}/g)].flatMap(
        ([, metric = '', labels = '']) =>
          labels.split(',').flatMap((label) => {
            const [, name, operator, value = ''] = /^(\w+)(=~|!~|=)"(.*)"$/.exec(label) ?? []
            assert.ok(operator, label)
            return value.split('|').map((one) => [metric, `${name}="${one}"`] as const)
          }),
      ),
    )
    assert.ok(wanted.length > 4)
    for (const [metric, label] of wanted) {
      const lines = (metric === 'entra_auth_sign_ins_total' ? signInBody : body)
        .split('\n')
        .filter((line) => line.startsWith(`${metric}{`) && line.includes(label))
      assert.ok(lines.length > 0, `${metric}{${label}}`)
      for (const line of lines) assert.match(line, / 0$/)
    }
  })

  it('lead from each alert to its section of docs/alerts.md, which names users, severity and steps', () => {
    const sections = read('docs/alerts.md').split(/^## /m).slice(1)
    assert.deepEqual(
      sections.map((text) => text.split('\n', 1)[0]),
      rules.map(({ alert }) => alert),
    )
    for (const [index, { alert, labels, annotations }] of rules.entries()) {
      const section = sections[index] ?? ''
      assert.equal(annotations.runbook_url, `docs/alerts.md#${alert.toLowerCase()}`)
      assert.ok(section.includes(`**Severity:** ${labels.severity}.`), alert)
      assert.match(section, /\*\*Users notice:\*\* /, alert)
      assert.match(section, /^1\. /m, alert)
    }
  })

  it('have panels that do not overlap, each with an id of its own', () => {
    const taken = new Set<string>()
    for (const { gridPos, title } of dashboard.panels) {
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          assert.ok(x < 24 && !taken.has(`${x} ${y}`), title)
          taken.add(`${x} ${y}`)
        }
      }
    }
    const panelIds = dashboard.panels.map(({ id }) => id)
    assert.equal(new Set(panelIds).size, panelIds.length)
  })
})
