import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { after, describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { failures } from '../../src/failure.ts'
import { startService } from '../support/service.ts'
import { helms, only, renderShape, shapes } from './render.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const service = await startService()
after(() => service.close())

interface SyntaxNode {
  readonly name: string
  readonly parent: SyntaxNode | null
}
interface Visited {
  readonly type: { readonly name: string; readonly isError: boolean }
  readonly from: number
  readonly to: number
  readonly node: SyntaxNode
}
interface PromqlParser {
  parse(text: string): { iterate(visitor: { enter(node: Visited): void }): void }
}
const promql = join(ROOT, 'helm/node_modules/@prometheus-io/lezer-promql/dist/index.es.js')
const { parser } = (await import(pathToFileURL(promql).href)) as { parser: PromqlParser }

/** What the service offers on its metrics listener, with the suffixes of a histogram. */
const { body } = await service.app.metrics.inject('/metrics')
const offered = new Set(
  [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name = '', type]) =>
    type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  ),
)

/** Labels that the documentation gives each metric of the service. */
const documented = new Map(
  [
    ...readFileSync(join(ROOT, 'docs', 'metrics.md'), 'utf8').matchAll(
      /^\| `(entra_auth_\w+)` \|([^|]*)\|/gm,
    ),
  ].map(([, name = '', labels = '']) => [
    name,
    [...labels.matchAll(/`(\w+)`/g)].map(([, l = '']) => l),
  ]),
)

/** What Prometheus adds, and what a histogram has. */
const addedLabels = ['namespace', 'pod', 'le']
const verdicts = ['allow', 'report', 'deny', 'unavailable']

const helm = helms.at(-1) ?? assert.fail('no Helm')
const shape = shapes.find(({ name }) => name === 'monitoring') ?? assert.fail('no such shape')
const manifests = renderShape(helm, shape)

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly annotations: Readonly<Record<string, string>>
}
const [{ rules }] = only(manifests, 'PrometheusRule').spec.groups as [{ rules: Rule[] }]
const ownRules = rules.filter(({ alert }) => alert !== 'EntraAuthReported')

interface Panel {
  readonly title: string
  readonly description: string
  readonly gridPos: {
    readonly x: number
    readonly y: number
    readonly w: number
    readonly h: number
  }
  readonly targets: readonly { readonly expr: string }[]
}
const configMap = only(manifests, 'ConfigMap', 'edge-haproxy-entra-auth-dashboard')
const dashboard = JSON.parse(configMap.data?.['haproxy-entra-auth.json'] ?? '') as {
  readonly panels: readonly Panel[]
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly query: string }[]
  }
}
const panelQueries = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }) => ({ name: title, expr: expr.replaceAll('$__rate_interval', '5m') })),
)
const queries = [...panelQueries, ...rules.map(({ alert, expr }) => ({ name: alert, expr }))]

for (const { name, expr } of queries) {
  describe(`the query of ${name}`, () => {
    const { errors, selectors, grouping } = parseQuery(expr)

    it('is PromQL', () => {
      assert.deepEqual(errors, [])
      assert.ok(selectors.length > 0)
    })

    it('asks for metrics and labels that the service has', () => {
      const known = new Set(addedLabels)
      for (const { metric, matchers } of selectors) {
        assert.ok(offered.has(metric), `${metric} is not offered`)
        const labels = labelsOf(metric)
        for (const label of labels) known.add(label)
        for (const [label, value] of matchers) {
          assert.ok([...labels, ...addedLabels].includes(label), `${metric} has no ${label}`)
          if (label === 'verdict') assert.ok(verdicts.includes(value), value)
          if (label === 'reason') assert.ok(Object.hasOwn(failures, value), value)
        }
      }
      for (const label of grouping) assert.ok(known.has(label), `no ${label} to group by`)
    })
  })
}

describe('the dashboard', () => {
  it('shows each metric that is documented', () => {
    const shown = new Set(
      panelQueries
        .flatMap(({ expr }) => parseQuery(expr).selectors)
        .map(({ metric }) => base(metric)),
    )
    assert.deepEqual(
      [...documented.keys()].filter((name) => !shown.has(name)),
      [],
    )
  })

  it('has variables and panels that do not overlap, each with a description', () => {
    assert.deepEqual(
      dashboard.templating.list.map(({ name }) => name),
      ['datasource', 'namespace', 'pod'],
    )
    for (const { query } of dashboard.templating.list.slice(1)) {
      const [, metric = ''] = /^label_values\((\w+)/.exec(query) ?? []
      assert.ok(offered.has(metric), metric)
    }
    const taken = new Set<string>()
    for (const { title, description, gridPos } of dashboard.panels) {
      assert.match(description, /\.$/)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        const cell = `${x} ${gridPos.y}`
        assert.ok(x < 24 && !taken.has(cell), `${title} lies on another panel`)
        taken.add(cell)
      }
    }
  })

  it('has the label by which the sidecar finds it', () => {
    assert.equal(configMap.metadata.labels?.grafana_dashboard, '1')
  })
})

describe('the alerts', () => {
  it('say what is wrong and what to do, and look at the pods of this release only', () => {
    assert.ok(ownRules.length >= 8)
    for (const { alert, expr, annotations } of ownRules) {
      assert.match(annotations.summary ?? '', /\.$/, alert)
      assert.match(annotations.description ?? '', /\.$/, alert)
      for (const { matchers } of parseQuery(expr).selectors) {
        const { namespace, pod = '' } = Object.fromEntries(matchers)
        assert.equal(namespace, 'entra', alert)
        assert.match('edge-haproxy-entra-auth-5d4b9c7f6d-x2x7k', new RegExp(`^(?:${pod})$`))
        assert.doesNotMatch(
          'edge-haproxy-entra-auth-2-5d4b9c7f6d-x2x7k',
          new RegExp(`^(?:${pod})$`),
        )
      }
    }
  })

  it('take the threshold and the rules of the values', () => {
    const refusals = rules.find(({ alert }) => alert === 'EntraAuthManyRefusals')
    assert.match(refusals?.expr ?? '', /> 80\s*$/)
    assert.equal(rules.at(-1)?.alert, 'EntraAuthReported')
  })
})

function base(metric: string): string {
  return metric.replace(/_(bucket|sum|count)$/, '')
}

/** The documented labels; metrics of the process and of Node have none that a query uses. */
function labelsOf(metric: string): readonly string[] {
  return documented.get(metric) ?? documented.get(base(metric)) ?? []
}

interface Selector {
  readonly metric: string
  readonly matchers: readonly (readonly [string, string])[]
}

/** The metrics, labels and errors of a query, by the parser that Prometheus' own pages use. */
function parseQuery(expr: string) {
  const text = expr.trim()
  const errors: string[] = []
  const selectors: { metric: string; matchers: [string, string][] }[] = []
  const grouping: string[] = []
  parser.parse(text).iterate({
    enter({ type, from, to, node }) {
      const part = text.slice(from, to)
      const parent = node.parent?.name
      if (type.isError) errors.push(`${part} at ${from}`)
      else if (type.name === 'Identifier' && parent === 'VectorSelector')
        selectors.push({ metric: part, matchers: [] })
      else if (type.name === 'LabelName' && parent === 'GroupingLabels') grouping.push(part)
      else if (type.name === 'UnquotedLabelMatcher') {
        const [, label = '', value = ''] = /^(\w+)\s*(?:=|!=|=~|!~)\s*"(.*)"$/.exec(part) ?? []
        selectors.at(-1)?.matchers.push([label, value])
      }
    },
  })
  return { errors, selectors: selectors as readonly Selector[], grouping }
}
