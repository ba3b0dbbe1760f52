import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import { helms, imageValues, only, parseManifests, runHelm } from './render.ts'

const helm = helms.at(-1) ?? assert.fail('no Helm')
const recipe = parse(
  readFileSync(join(chartFolder, '../../recipes/haproxy-ingress/ingress-auth-url.yaml'), 'utf8'),
)
const minimal = 'tenantId: 11111111-1111-4111-8111-111111111111\naudience: [api://orders]\n'

function render(release: string, values: string, namespace = 'entra') {
  const args = ['template', release, chartFolder, '--namespace', namespace]
  const { code, stdout, stderr } = runHelm(
    helm,
    [...args, ...imageValues, '--values', '-'],
    minimal + values,
  )
  assert.equal(code, 0, stderr)
  return parseManifests(stdout)
}

describe('the names of the objects', () => {
  // The name of a pod is that of its ReplicaSet, cut to 58 characters, and five more; the name of the
  // ReplicaSet has a dash and up to ten characters behind the name of the Deployment.
  it('are short enough for the alerts to find the pods of a release with a long name', () => {
    for (const length of [1, 20, 46, 47, 53]) {
      const manifests = render(
        `r${'x'.repeat(length - 1)}`,
        'monitoring: { prometheusRule: { enabled: true } }',
      )
      const { name } = only(manifests, 'Deployment').metadata
      const pod = `${`${name}-6d4b75cb6d-`.slice(0, 58)}abcde`
      const [{ expr }] = only(manifests, 'PrometheusRule').spec.groups[0].rules
      const [, pattern = ''] = /pod=~"([^"]+)"/.exec(expr) ?? []
      assert.match(pod, new RegExp(`^(?:${pattern})$`), `${length} characters`)
    }
  })

  it('differ in the namespace of HAProxy for two releases with one name', () => {
    const names = ['orders', 'stock'].map((namespace) =>
      render('edge', 'haproxy: { namespace: ingress }', namespace)
        .filter(({ metadata }) => metadata.namespace === 'ingress')
        .map(({ metadata }) => metadata.name),
    )
    assert.equal(names.flat().length, 4)
    assert.equal(new Set(names.flat()).size, 4)
  })
})

describe('the Service', () => {
  // haproxy-ingress (0.15) compares the port of `auth-url` with names and target ports, not with ports.
  it('is what the recipe of haproxy-ingress asks, by a port that the controller finds', () => {
    const url = recipe.metadata.annotations['haproxy-ingress.github.io/auth-url']
    const [, name, port] = /^svc:\/\/([^:]+):([^/]+)\/verify\/orders$/.exec(url) ?? []
    const service = only(render('verifier', ''), 'Service')
    assert.equal(service.metadata.name, name)
    const found = service.spec.ports.find(
      (one: { name: string; targetPort: string | number }) =>
        one.name === port || String(one.targetPort) === port,
    )
    assert.equal(found?.name, 'verify')
  })

  it('stays as it is beside a headless one', () => {
    const services = (values: string) =>
      render('edge', values).filter(({ kind }) => kind === 'Service')
    const [plain] = services('')
    const [same, headless] = services('service: { headless: true }')
    assert.deepEqual(same, plain)
    assert.equal(headless?.spec.clusterIP, 'None')
    assert.deepEqual(headless?.spec.selector, plain?.spec.selector)
  })
})

describe('the pods', () => {
  it("have the containers, arguments and variables of one's own beside the verifier's", () => {
    const { containers, initContainers } = only(
      render(
        'edge',
        'sidecars: [{ name: shipper }]\ninitContainers: [{ name: mesh }]\nextraArgs: [--verbose]\nenvFrom: [{ secretRef: { name: s } }]',
      ),
      'Deployment',
    ).spec.template.spec
    assert.deepEqual(
      [...initContainers, ...containers].map(({ name }: { name: string }) => name),
      ['mesh', 'verifier', 'shipper'],
    )
    assert.equal(containers[0].args.at(-1), '--verbose')
    assert.deepEqual(containers[0].envFrom, [{ secretRef: { name: 's' } }])
  })
})
