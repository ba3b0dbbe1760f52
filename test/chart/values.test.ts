import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { chartFolder, deriveChartFiles, listValues } from '../../scripts/chart.ts'
import { run } from '../drift/run.ts'
import { helms, shapes, template } from './render.ts'

const read = (...path: string[]) => readFileSync(join(chartFolder, ...path), 'utf8')
const schema = JSON.parse(read('values.schema.json'))
const values = read('values.yaml')
const minimal = 'tenantId: 11111111-1111-4111-8111-111111111111\naudience: [api://orders]\n'

/** What the schema leaves to Kubernetes, by path; everything else knows its keys. */
const open = [
  'affinity.nodeAffinity',
  'affinity.podAffinity',
  'affinity.podAntiAffinity',
  'autoscaling.behavior.scaleDown',
  'autoscaling.behavior.scaleUp',
  'autoscaling.metrics[]',
  'extraEnv[].valueFrom',
  'extraObjects[]',
  'extraVolumes[]',
  'global',
  'initContainers[]',
  'lifecycle.postStart',
  'lifecycle.preStop',
  'monitoring.podMonitor.metricRelabelings[]',
  'monitoring.podMonitor.relabelings[]',
  'monitoring.serviceMonitor.metricRelabelings[]',
  'monitoring.serviceMonitor.relabelings[]',
  'podSecurityContext.appArmorProfile',
  'podSecurityContext.seLinuxOptions',
  'podSecurityContext.seccompProfile',
  'securityContext.appArmorProfile',
  'securityContext.seLinuxOptions',
  'securityContext.seccompProfile',
  'sidecars[]',
]

/** Wrong values, and where Helm must say so. */
const typos = [
  ['at the top', 'replicaCuont: 3', 'replicaCuont'],
  ['in a section', 'tls: { existingSecrets: verifier-tls }', 'existingSecrets'],
  ['deep in a section', 'monitoring: { serviceMonitor: { enable: true } }', 'enable'],
  ['in the configuration', 'config: { clockSkewSecond: 1 }', 'clockSkewSecond'],
  [
    'in a grant',
    'audience: []\nconfig: { policies: { orders: { audiences: [a], allow: [{ actor: user, scope: [x] }] } } }',
    'scope',
  ],
  ['in a list', 'extraEnv: [{ nam: A, value: b }]', 'nam'],
  [
    'in a peer of the network',
    'networkPolicy: { verifyFrom: [{ podSelektor: {} }] }',
    'podSelektor',
  ],
  [
    'in the security context',
    'securityContext: { readOnlyRootFileSystem: true }',
    'readOnlyRootFileSystem',
  ],
  ['in a GUID', 'workloadIdentity: { tenantId: contoso.onmicrosoft.com }', 'tenantId'],
  ['in a type', 'replicaCount: "3"', 'replicaCount'],
  ['in a number', 'config: { listen: { port: 70000 } }', 'port'],
] as const

for (const helm of helms) {
  describe(`the schema of the values with Helm ${helm.version}`, () => {
    for (const [place, wrong, word] of typos) {
      it(`refuses a typo ${place}`, () => {
        const { tenantId, audience, ...rest } = parse(minimal)
        const text = JSON.stringify({ tenantId, audience, ...rest, ...parse(wrong) })
        const { code, stderr } = template(helm, text)
        assert.notEqual(code, 0)
        assert.match(stderr, /don't meet the specifications of the schema/)
        assert.match(stderr, new RegExp(`\\b${word}\\b`))
      })
    }

    it('lets a parent chart hand its global values down', () => {
      const values = `${minimal}enabled: true\nglobal: { imageRegistry: r.example, imagePullSecrets: [a, { name: b }] }\n`
      const { code, stdout, stderr } = template(helm, values)
      assert.equal(code, 0, stderr)
      assert.match(stdout, /image: "r\.example\/haproxy-entra-auth:/)
      assert.match(stdout, /imagePullSecrets:\n\s+- name: a\n\s+- name: b\n/)
    })
  })
}

describe('the schema of the values', () => {
  it('knows every key of every mapping, but for what it leaves to Kubernetes', () => {
    assert.deepEqual(findOpen(schema, '').toSorted(), open)
  })

  it('has each value of values.yaml, and no other', () => {
    const listed = listValues(values).map(({ path }) => path)
    const described = findPaths(schema, '', listed)
    assert.deepEqual(described.toSorted(), [...listed, 'enabled', 'global'].toSorted())
  })

  it('has, under config, what `haproxy-entra-auth schema` prints', async () => {
    const { stdout } = await run(['schema'])
    const { $schema, title, required, ...printed } = JSON.parse(stdout)
    assert.deepEqual(schema.properties.config, printed)
    assert.ok(Object.keys(printed.properties).length > 5)
  })
})

describe('the files of the chart', () => {
  for (const [path, text] of deriveChartFiles()) {
    it(`are up to date: ${path.slice(chartFolder.length + 1)} (npm run chart)`, () => {
      assert.equal(readFileSync(path, 'utf8'), text)
    })
  }

  it('have a comment for each value', () => {
    assert.deepEqual(
      listValues(values).filter(({ comment }) => comment.length < 4),
      [],
    )
  })

  it('have a row for each value in the README, with its default', () => {
    const [, table = ''] = read('README.md').split('## Values')
    const rows = [...table.matchAll(/^\| `([^`]+)` \| (?:`([^`]*)`)? ?\|/gm)]
    assert.deepEqual(
      rows.map(([, path, fallback]) => [path, fallback && JSON.parse(fallback)]),
      flatten(parse(values)),
    )
  })

  it('have, in the README, the paths at which things are mounted', () => {
    const paths = new Set(
      read('README.md').match(/\/(etc|var\/lib)\/haproxy-entra-auth\/[-\w./]+\w/g),
    )
    assert.ok(paths.size >= 8)
    const snapshots = shapes.map(({ name }) =>
      readFileSync(join(import.meta.dirname, 'snapshots', `${name}.yaml`), 'utf8'),
    )
    const unknown = [...paths].filter((path) => !snapshots.some((text) => text.includes(path)))
    assert.deepEqual(unknown, [])
  })

  it('have the version of the service as appVersion', () => {
    const { version } = JSON.parse(readFileSync(join(chartFolder, '../../package.json'), 'utf8'))
    assert.equal(parse(read('Chart.yaml')).appVersion, version)
  })

  it('have each key of the configuration in ci/full-config-values.yaml', () => {
    const { config } = parse(read('ci', 'full-config-values.yaml'))
    assert.deepEqual(
      Object.keys(config).toSorted(),
      Object.keys(schema.properties.config.properties).toSorted(),
    )
  })

  it('have a first line in each values file of ci/ that says what it is', () => {
    assert.ok(shapes.length > 10)
    for (const { file } of shapes) assert.match(readFileSync(file, 'utf8'), /^# .{10,}\.\n/)
  })
})

/** Mappings without `additionalProperties`, by path. */
// biome-ignore lint/suspicious/noExplicitAny: a JSON Schema is any JSON; Ajv checks its form.
function findOpen(node: any, path: string): string[] {
  const schemaPart = resolveRef(node)
  const types = [schemaPart.type].flat()
  const inner = [
    ...Object.entries(schemaPart.properties ?? {}).map(
      ([key, part]) => [part, at(path, key)] as const,
    ),
    ...Object.values(schemaPart.patternProperties ?? {}).map(
      (part) => [part, `${path}.*`] as const,
    ),
    ...[schemaPart.items, ...(schemaPart.anyOf ?? [])]
      .filter(Boolean)
      .map((part) => [part, part === schemaPart.items ? `${path}[]` : path] as const),
  ].flatMap(([part, where]) => findOpen(part, where))
  const isOpen = types.includes('object') && schemaPart.additionalProperties === undefined
  return isOpen ? [path, ...inner] : inner
}

/** Paths of the schema, down to what `values.yaml` lists as one value. */
// biome-ignore lint/suspicious/noExplicitAny: a JSON Schema is any JSON; Ajv checks its form.
function findPaths(node: any, path: string, listed: readonly string[]): string[] {
  const properties = Object.entries(resolveRef(node).properties ?? {})
  const isWhole = path !== '' && !listed.some((other) => other.startsWith(`${path}.`))
  if (properties.length === 0 || isWhole) return path === '' ? [] : [path]
  const inner = properties.flatMap(([key, part]) => findPaths(part, at(path, key), listed))
  return path === '' ? inner : [path, ...inner]
}

// biome-ignore lint/suspicious/noExplicitAny: a JSON Schema is any JSON; Ajv checks its form.
function resolveRef(node: any): any {
  const name = /^#\/definitions\/(.+)$/.exec(node.$ref ?? '')?.[1]
  return name ? schema.definitions[name] : node
}

function at(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

/** Path and default of each value; a mapping has none, unless its keys are not the chart's. */
function flatten(tree: object, path = ''): unknown[] {
  const whole = [
    'podSecurityContext',
    'securityContext',
    'resources',
    'monitoring.dashboard.labels',
  ]
  return Object.entries(tree).flatMap(([key, value]) => {
    const where = at(path, key)
    const isMapping = value !== null && typeof value === 'object' && !Array.isArray(value)
    if (!isMapping || Object.keys(value).length === 0 || whole.includes(where))
      return [[where, value]]
    return [[where, undefined], ...flatten(value, where)]
  })
}
