/** Odd, wrong and hostile values: each is refused, or stays the text that it is. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import { helms, type Manifest, parseManifests, runHelm, shapes, template } from './render.ts'

// biome-ignore lint/suspicious/noExplicitAny: values and a JSON Schema are any JSON.
type Any = any

const schema = JSON.parse(readFileSync(join(chartFolder, 'values.schema.json'), 'utf8'))
const defaults: Any = parse(readFileSync(join(chartFolder, 'values.yaml'), 'utf8'))
const minimal = {
  tenantId: '11111111-1111-4111-8111-111111111111',
  audience: ['api://orders'],
  image: { repository: 'haproxy-entra-auth' },
}
const isValid = new Ajv({ strict: false }).compile(schema)

/** Texts that end a line, a quotation, a flow mapping or a template. */
const hostile = [
  'a\nkind: Evil',
  '"\n---\napiVersion: v1\nkind: Evil\n#',
  "it's: {a} } ] , \"quoted\" 'single'",
  'a # no comment',
  '{{ .Values.callerKey }} {{ fail "x" }}',
  '*alias',
  'x\t! tag \\ %',
  'x a: b',
]
const texts = ['one', 'two', ...hostile]

interface Leaf {
  readonly path: readonly string[]
  readonly node: Any
}

/** The schema's leaves, less `config`, which is the service's own, and what is left to Kubernetes. */
function leavesOf(node: Any, path: readonly string[] = []): Leaf[] {
  const name = /^#\/definitions\/(.+)$/.exec(node.$ref ?? '')?.[1]
  if (name) return leavesOf(schema.definitions[name], path)
  if (path[0] === 'config') return []
  const inner = Object.entries<Any>(node.properties ?? {})
  if (inner.length > 0) return inner.flatMap(([key, part]) => leavesOf(part, [...path, key]))
  const items = node.items
  if (items) return [{ path, node }, ...leavesOf(items, [...path, '[]'])]
  const more = node.additionalProperties
  if (more && typeof more === 'object') return [{ path, node }, ...leavesOf(more, [...path, '*'])]
  return [{ path, node }]
}

/** The values with one put in; what a list's item or a mapping needs besides is put in too. */
function withValue(path: readonly string[], value: unknown, tree: Any = structuredClone(defaults)) {
  const [key = '', ...rest] = path
  const at = key === '[]' ? 0 : key === '*' ? 'example.com/a' : key
  if (rest.length === 0) tree[at] = value
  else {
    const known = tree[at] && typeof tree[at] === 'object' ? tree[at] : undefined
    const fresh = rest[0] === '[]' ? [] : {}
    tree[at] = rest[0] === '[]' ? fresh : (known ?? fresh)
    withValue(rest, value, tree[at])
  }
  return tree
}

const leaves = leavesOf(schema)
const isText = ({ node }: Leaf) => [node.type].flat().includes('string')

/** The paths that the schema says something about, for a value that is there. */
function complaintsAt(values: Any, path: readonly string[]): boolean {
  if (isValid(values)) return false
  const place = path.map((key) => (key === '[]' ? '0' : key === '*' ? 'example.com~1a' : key))
  return (isValid.errors ?? []).some(({ instancePath }) =>
    `/${place.join('/')}`.startsWith(instancePath === '' ? '/' : instancePath)
      ? instancePath === `/${place.join('/')}`
      : false,
  )
}

/** Values that may be any text: they stand in quotes, or are written by `toYaml`; the chart itself looks at `tenantId`. */
const free = [
  'audience',
  'audience.[]',
  'commonAnnotations.*',
  'extraArgs.[]',
  'monitoring.dashboard.annotations.*',
  'podAnnotations.*',
  'proxy.noProxy',
  'service.annotations.*',
  'serviceAccount.annotations.*',
  'signIn.federatedToken.audience',
  'tenantId',
]

describe('a hostile text', () => {
  it('is refused by the schema wherever it is not free', () => {
    const accepted = leaves
      .filter(isText)
      .filter(({ path }) => hostile.some((text) => !complaintsAt(withValue(path, text), path)))
      .map(({ path }) => path.join('.'))
      // What Kubernetes defines is written by toYaml as it is.
      .filter(
        (path) =>
          !/^(extraEnv|extraVolumeMounts|envFrom|dnsConfig|hostAliases|tolerations|topologySpreadConstraints|networkPolicy|monitoring\.prometheusRule\.extraRules|(pod)?[sS]ecurityContext|resources|lifecycle)\b/.test(
            path,
          ),
      )
    assert.deepEqual(accepted.toSorted(), free)
  })

  const values = (text: string) => ({
    ...minimal,
    audience: [text, 'api://orders'],
    commonAnnotations: { 'example.com/a': text },
    extraArgs: [text],
    monitoring: { dashboard: { enabled: true, annotations: { 'example.com/b': text } } },
    podAnnotations: { 'example.com/a': text },
    haproxy: { configMaps: false },
    proxy: { url: 'http://proxy:3128', noProxy: text },
    service: { annotations: { 'example.com/b': text } },
    serviceAccount: { annotations: { 'example.com/b': text } },
    signIn: { federatedToken: { enabled: true, audience: text } },
    config: { signIn: { clientId: minimal.tenantId, hosts: ['a.example.com'] } },
    extraEnv: [{ name: 'A', value: text }],
    dnsConfig: { searches: [text] },
    hostAliases: [{ ip: '10.0.0.1', hostnames: [text] }],
    tolerations: [{ key: text, operator: 'Exists' }],
    resources: { limits: { memory: text } },
  })
  /** The same objects, with `text` wherever the text stands by itself. */
  const neutral = (manifests: readonly Manifest[], text: string) =>
    JSON.stringify(manifests, (key, value) =>
      key === 'config.yaml' ? parse(value) : /^checksum|sealing-1|json$/.test(key) ? '' : value,
    ).replaceAll(JSON.stringify(text), '"text"')

  for (const helm of helms) {
    it(`stays one text where it is free, with Helm ${helm.version}`, () => {
      const [first, ...others] = texts.map((text) => {
        const { code, stdout, stderr } = template(helm, JSON.stringify(values(text)))
        assert.equal(code, 0, stderr)
        return neutral(parseManifests(stdout), text)
      })
      assert.ok(first && (first.match(/"text"/g)?.length ?? 0) >= 20)
      others.forEach((other, index) => {
        assert.ok(other === first, texts[index + 1])
      })
    })
  }
})

describe('a value of a wrong type', () => {
  const wrong: Record<string, readonly unknown[]> = {
    string: [3, true, ['a'], { a: 'b' }],
    boolean: ['true', 'yes', 1, [], {}],
    integer: ['3', 1.5, true, [], {}, -1],
    number: ['3', true, [], {}, -1],
    array: [3, true, { a: 'b' }],
    object: [3, 'a', true, ['a']],
  }

  it('is refused by the schema, whatever the value', () => {
    const accepted = leaves.flatMap(({ path, node }) => {
      const types: string[] = [node.type].flat().filter(Boolean)
      const tried = types.length === 1 ? (wrong[types[0] ?? ''] ?? []) : [{ a: { b: [] } }]
      return tried
        .filter((value) => isValid(withValue(path, value)))
        .map((value) => `${path.join('.')}: ${JSON.stringify(value)}`)
    })
    // A number below zero is a user or a weight as Kubernetes checks it itself.
    assert.deepEqual(
      accepted.filter((line) => !/: -1$/.test(line)),
      [],
    )
  })
})

describe('a value that is null', () => {
  const paths = leaves
    .map(({ path }) => path)
    .filter((path) => !path.includes('[]') && !path.includes('*'))
  const sections = [
    ...new Set(paths.flatMap((path) => path.map((_, i) => path.slice(0, i + 1).join('.')))),
  ]
  // Helm takes a null for "remove this value".
  const without = (values: Any, path: string) => {
    const keys = path.split('.')
    const parent = keys.slice(0, -1).reduce((node, key) => node?.[key], values)
    if (parent) delete parent[keys.at(-1) ?? '']
    return values
  }
  const isThere = (path: string) =>
    path.split('.').reduce((node, key) => node?.[key], defaults) !== undefined
  const removable = sections.filter(
    (path) => isThere(path) && isValid(without(structuredClone(defaults), path)),
  )

  it('is refused where the chart needs one: no pod without its settings', () => {
    for (const path of [
      'serviceAccount.automountToken',
      'networkPolicy.enabled',
      'admissionPolicy.validationActions',
      'replicaCount',
      'service.port',
      'tls',
    ]) {
      assert.ok(!removable.includes(path), path)
    }
  })

  for (const helm of helms) {
    it(`is like a value that is empty elsewhere, with Helm ${helm.version}`, () => {
      const kept =
        /^(securityContext|podSecurityContext|resources|topologySpreadConstraints|strategy\.rollingUpdate|global|config|enabled|tenantId|audience|image\.repository|networkPolicy\.httpsCidrs|monitoring\.dashboard\.labels)\b/
      const nulls: Any = {}
      for (const path of removable.filter((path) => !kept.test(path))) {
        const keys = path.split('.')
        const parent = keys.slice(0, -1).reduce((node, key) => {
          node[key] ??= {}
          return node[key]
        }, nulls)
        parent[keys.at(-1) ?? ''] = null
      }
      const { config: _config, ...rest } = nulls
      const all = { ...rest, ...minimal, image: { ...rest.image, ...minimal.image } }
      const [some, none] = [all, minimal].map((values) => {
        const { code, stdout, stderr } = template(helm, JSON.stringify(values))
        assert.equal(code, 0, stderr)
        return stdout
      })
      assert.equal(some, none)
    })
  }
})

describe('a label that is set in two places', () => {
  it('is written once, and the nearer place wins', () => {
    const same = (value: string) => ({ team: value })
    const { code, stdout, stderr } = template(
      helms[0] ?? assert.fail('no Helm'),
      JSON.stringify({
        ...minimal,
        commonLabels: same('common'),
        commonAnnotations: same('common'),
        podLabels: { ...same('pod'), 'azure.workload.identity/use': 'false' },
        podAnnotations: { 'checksum/config': 'mine' },
        service: { labels: same('service'), annotations: same('service') },
        serviceAccount: { labels: same('account') },
        workloadIdentity: { enabled: true, clientId: minimal.tenantId },
      }),
    )
    assert.equal(code, 0, stderr)
    const manifests = parseManifests(stdout)
    const of = (kind: string) => manifests.find((manifest) => manifest.kind === kind)
    const pod = of('Deployment')?.spec.template.metadata
    assert.equal(pod.labels.team, 'pod')
    assert.equal(pod.labels['azure.workload.identity/use'], 'true')
    assert.match(pod.annotations['checksum/config'], /^[0-9a-f]{64}$/)
    assert.equal(of('Service')?.metadata.labels?.team, 'service')
    assert.equal(of('Service')?.metadata.annotations?.team, 'service')
    assert.equal(of('ServiceAccount')?.metadata.labels?.team, 'account')
    assert.equal(of('ConfigMap')?.metadata.labels?.team, 'common')
  })

  it('cannot be one that selects the pods', () => {
    for (const key of ['name', 'instance', 'component', 'managed-by']) {
      const values = {
        ...structuredClone(defaults),
        podLabels: { [`app.kubernetes.io/${key}`]: 'x' },
      }
      assert.equal(isValid(values), false)
    }
  })
})

describe('a name that looks like a number or a truth', () => {
  for (const name of ['123', '1e3', 'true', 'on', '0x1f']) {
    it(`stays a text: ${name}`, () => {
      {
        const args = ['template', name, chartFolder, '--namespace', name]
        const values = {
          ...minimal,
          priorityClassName: name,
          runtimeClassName: name,
          callerKey: { existingSecret: name, key: name },
          tls: { existingSecret: name },
          privateCa: { existingConfigMap: name },
          proxy: { existingSecret: name, key: name },
          keyStore: { existingClaim: name },
          revocations: { existingConfigMap: name },
          serviceAccount: { create: false, name },
          haproxy: { namespace: name },
          commonLabels: { a: name },
          monitoring: { serviceMonitor: { enabled: true, namespace: name } },
          admissionPolicy: { enabled: true, ingressClasses: [name], exemptNamespaces: [name] },
        }
        const { code, stdout, stderr } = runHelm(
          helms.at(-1) ?? assert.fail('no Helm'),
          [...args, '--values', '-'],
          JSON.stringify(values),
        )
        assert.equal(code, 0, stderr)
        const odd: unknown[] = []
        JSON.stringify(parseManifests(stdout), (key, value) => {
          // Numbers, truths and dates that are meant to be some have other values.
          const isName = /^(.*[nN]ame|namespace|key|a|.*instance)$/.test(key)
          if (isName && typeof value !== 'string') odd.push([key, value])
          return value
        })
        assert.deepEqual(odd, [])
        assert.ok(stdout.includes(`secretName: "${name}"`))
      }
    })
  }
})

describe('a large number', () => {
  it('is written out, never with an exponent', () => {
    const { code, stdout, stderr } = template(
      helms[0] ?? assert.fail('no Helm'),
      JSON.stringify({
        ...minimal,
        replicaCount: 2_000_000,
        revisionHistoryLimit: 3_000_000,
        minReadySeconds: 4_000_000,
        shutdown: { preStopSleepSeconds: 5_000_000, terminationGracePeriodSeconds: 6_000_000 },
        podSecurityContext: { runAsUser: 1_000_650_000 },
        podDisruptionBudget: { maxUnavailable: 7_000_000 },
        probes: {
          startup: { failureThreshold: 8_000_000, timeoutSeconds: 8_000_000 },
          readiness: {
            periodSeconds: 8_000_000,
            failureThreshold: 8_000_000,
            timeoutSeconds: 8_000_000,
          },
        },
      }),
    )
    assert.equal(code, 0, stderr)
    for (const number of ['2', '3', '4', '5', '6', '7', '8'].map((digit) => `${digit}000000`)) {
      assert.match(stdout, new RegExp(`: ${number}\\b`))
    }
    assert.match(stdout, /runAsUser: 1000650000\n/)
  })
})

describe('the shapes of ci/', () => {
  it('are valid by the schema as it is read here', () => {
    for (const { file } of shapes) {
      const merge = (a: Any, b: Any): Any =>
        a && b && typeof a === 'object' && typeof b === 'object' && !Array.isArray(b)
          ? Object.fromEntries(
              [...new Set([...Object.keys(a), ...Object.keys(b)])].map((key) => [
                key,
                key in b ? merge(a[key], b[key]) : a[key],
              ]),
            )
          : b
      const values = merge(defaults, parse(readFileSync(file, 'utf8')))
      assert.ok(isValid(values), `${file} ${JSON.stringify(isValid.errors)}`)
    }
  })
})
