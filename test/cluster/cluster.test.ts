/** The admission policies, the chart and the recipes' objects at a real API server. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { after, before, describe, it } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import { helms, renderShape, shapes } from '../chart/render.ts'
import {
  type AdmissionCase,
  authUrlCases,
  bypassCases,
  ingress,
} from '../recipes/admission-cases.ts'
import { recipeFile } from '../recipes/recipe-files.ts'
import { eventually } from '../support/eventually.ts'
import { type ApiServer, addKind, pathOf, startApiServer } from './api-server.ts'

const cleanUps: (() => unknown)[] = []
const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
let server: ApiServer

// biome-ignore lint/suspicious/noExplicitAny: any object of Kubernetes.
type Any = any

const policies = 'admissionregistration.k8s.io/v1'
const resources: Readonly<Record<string, string>> = {
  ValidatingAdmissionPolicy: 'validatingadmissionpolicies',
  ValidatingAdmissionPolicyBinding: 'validatingadmissionpolicybindings',
  ConfigMap: 'configmaps',
  Ingress: 'ingresses',
  GatewayClass: 'gatewayclasses',
  Gateway: 'gateways',
  HTTPRoute: 'httproutes',
  NetworkPolicy: 'networkpolicies',
}

async function addNamespace(name: string, labels: object = {}) {
  const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
  assert.equal((await server.ask('POST', '/api/v1/namespaces', object)).status, 201)
}

/** The objects of a file, each at its place. */
function objectsOf(text: string) {
  return parseAllDocuments(text)
    .map((document) => ('toJS' in document ? document.toJS() : undefined) as Any)
    .filter(Boolean)
    .map((object) => {
      const resource = resources[object.kind] ?? assert.fail(object.kind)
      return { object, path: pathOf(object.apiVersion, resource, object.metadata.namespace) }
    })
}

/** Asks whether the case is admitted, and writes nothing. */
async function admit({ creation }: AdmissionCase) {
  const { group, resource, namespace, object } = creation
  const { apiVersion } = object as { apiVersion: string }
  assert.equal(apiVersion.includes('/') ? apiVersion.split('/')[0] : '', group)
  const metadata = { ...(object as Any).metadata, namespace }
  const path = `${pathOf(apiVersion, resource, namespace)}?dryRun=All`
  return server.ask('POST', path, { ...object, metadata })
}

before(async () => {
  server = await startApiServer(life)
  for (const name of ['shop', 'haproxy-controller', 'ingress', 'identity', 'monitoring'])
    await addNamespace(name)
  const runtime = 'node.k8s.io/v1'
  const gvisor = {
    apiVersion: runtime,
    kind: 'RuntimeClass',
    metadata: { name: 'gvisor' },
    handler: 'runsc',
  }
  assert.equal((await server.ask('POST', pathOf(runtime, 'runtimeclasses'), gvisor)).status, 201)
  const gateway = 'gateway.networking.k8s.io'
  await addKind(server, gateway, 'TLSRoute', 'tlsroutes', ['v1', 'v1alpha2', 'v1alpha3'])
  await addKind(server, gateway, 'TCPRoute', 'tcproutes', ['v1alpha2'])
  await addKind(server, gateway, 'HTTPRoute', 'httproutes', ['v1'])
  await addKind(server, gateway, 'GRPCRoute', 'grpcroutes', ['v1'])
  await addKind(server, gateway, 'Gateway', 'gateways', ['v1'])
  await addKind(server, gateway, 'ListenerSet', 'listenersets', ['v1'])
  await addKind(server, gateway, 'GatewayClass', 'gatewayclasses', ['v1'], 'Cluster')
  for (const [kind, plural] of [
    ['TCP', 'tcps'],
    ['Global', 'globals'],
    ['Defaults', 'defaults'],
    ['Backend', 'backends'],
    ['Frontend', 'frontends'],
    ['Listener', 'listeners'],
  ] as const) {
    for (const version of ['v1', 'v3']) {
      await addKind(server, `ingress.${version}.haproxy.org`, kind, plural, [version])
    }
  }
  const prometheus = 'monitoring.coreos.com'
  await addKind(server, prometheus, 'ServiceMonitor', 'servicemonitors', ['v1'])
  await addKind(server, prometheus, 'PodMonitor', 'podmonitors', ['v1'])
  await addKind(server, prometheus, 'PrometheusRule', 'prometheusrules', ['v1'])
  const csi = 'secrets-store.csi.x-k8s.io'
  await addKind(server, csi, 'SecretProviderClass', 'secretproviderclasses', ['v1'])
})
after(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

for (const [file, cases, canary] of [
  [
    'kubernetes/admission-policy.yaml',
    bypassCases,
    bypassCases.filter(({ refusal }) => refusal).at(-1),
  ],
  [
    'haproxy-ingress/admission-auth-url.yaml',
    authUrlCases,
    authUrlCases.filter(({ refusal }) => refusal).at(-1),
  ],
] as const) {
  describe(`recipes/${file} at the API server`, () => {
    before(async () => {
      for (const { object, path } of objectsOf(recipeFile(file))) {
        const { status, body } = await server.ask('POST', path, object)
        assert.equal(status, 201, JSON.stringify(body))
      }
      assert.ok(canary)
      // A policy counts a moment after it was written.
      await eventually(
        () => admit(canary),
        ({ status }) => status === 403,
        60_000,
      )
    })
    after(async () => {
      for (const { object, path } of objectsOf(recipeFile(file))) {
        await server.ask('DELETE', `${path}/${object.metadata.name}`)
      }
      assert.ok(canary)
      await eventually(
        () => admit(canary),
        ({ status }) => status === 201,
        60_000,
      )
    })

    it('has no expression that the API server warns of', async () => {
      for (const { object, path } of objectsOf(recipeFile(file))) {
        const { body } = await server.ask('GET', `${path}/${object.metadata.name}`)
        assert.deepEqual(body.status?.typeChecking?.expressionWarnings ?? [], [])
      }
    })

    for (const one of cases) {
      it(`${one.refusal === undefined ? 'admits' : 'refuses'} ${one.title}`, async () => {
        const { status, body } = await admit(one)
        if (one.refusal === undefined) assert.equal(status, 201, JSON.stringify(body))
        else {
          assert.equal(status, 403, JSON.stringify(body))
          assert.ok(body.message.includes(one.refusal), body.message)
        }
      })
    }
  })
}

function helm(args: readonly string[], path: string) {
  const { status, stdout, stderr } = spawnSync(path, args, {
    encoding: 'utf8',
    env: { ...process.env, KUBECONFIG: server.kubeconfig },
  })
  return { status, stdout, stderr }
}

describe('the chart at the API server', () => {
  const newest = helms.at(-1) ?? assert.fail('no Helm')

  for (const shape of shapes) {
    it(`installs, upgrades and goes: ${shape.name}`, async () => {
      const namespace = `s-${shape.name}`.slice(0, 40)
      await addNamespace(namespace, { 'pod-security.kubernetes.io/enforce': 'restricted' })
      const run = (...args: string[]) => {
        const { status, stderr } = helm([...args, '--namespace', namespace], newest.path)
        assert.equal(status, 0, stderr)
        assert.doesNotMatch(stderr, /unknown field|would violate/i)
      }
      run('upgrade', '--install', 'edge', chartFolder, '--values', shape.file)
      run('upgrade', 'edge', chartFolder, '--values', shape.file, '--set', 'podLabels.a=b')
      run('rollback', 'edge', '1')
      for (const { kind, spec } of renderShape(newest, shape)) {
        if (kind !== 'Deployment') continue
        const { metadata, spec: pod } = spec.template
        const object = {
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { ...metadata, name: 'p' },
          spec: pod,
        }
        const path = `${pathOf('v1', 'pods', namespace)}?dryRun=All&fieldValidation=Strict`
        const { status, body } = await server.ask('POST', path, object)
        assert.equal(status, 201, body.message)
      }
      run('uninstall', 'edge')
    })
  }

  for (const { version, path } of helms) {
    it(`keeps the sealing keys over upgrades and a new installation, with Helm ${version}`, async () => {
      const namespace = `sealing-${version.replaceAll('.', '-')}`
      await addNamespace(namespace)
      const shape = shapes.find(({ name }) => name === 'sign-in') ?? assert.fail('no shape')
      const run = (...args: string[]) => {
        const { status, stderr } = helm([...args, '--namespace', namespace], path)
        assert.equal(status, 0, stderr)
      }
      const install = () => run('upgrade', '--install', 'edge', chartFolder, '--values', shape.file)
      const secret = pathOf('v1', 'secrets', namespace)
      const read = async () =>
        (await server.ask('GET', `${secret}/edge-haproxy-entra-auth-sealing`)).body.data
      install()
      const first = await read()
      assert.deepEqual(Object.keys(first), ['sealing-1.key'])
      install()
      assert.deepEqual(await read(), first)
      run('uninstall', 'edge')
      assert.deepEqual(await read(), first)
      install()
      assert.deepEqual(await read(), first)
    })
  }

  it('keeps the number of pods when autoscaling is turned on', async () => {
    const namespace = 'autoscaling'
    await addNamespace(namespace)
    const shape = shapes.find(({ name }) => name === 'minimal') ?? assert.fail('no shape')
    const install = (...more: string[]) => {
      const args = ['upgrade', '--install', 'edge', chartFolder, '--namespace', namespace]
      const { status, stderr } = helm([...args, '--values', shape.file, ...more], newest.path)
      assert.equal(status, 0, stderr)
    }
    const deployment = `${pathOf('apps/v1', 'deployments', namespace)}/edge-haproxy-entra-auth`
    const replicas = async () => (await server.ask('GET', deployment)).body.spec.replicas
    install('--set', 'replicaCount=3')
    assert.equal(await replicas(), 3)
    install('--set', 'autoscaling.enabled=true')
    assert.equal(await replicas(), 3)
  })

  it('refuses with its own admission policies what those of the recipes refuse', async () => {
    const namespace = 'platform'
    await addNamespace(namespace)
    const shape = shapes.find(({ name }) => name === 'minimal') ?? assert.fail('no shape')
    const values = ['--values', shape.file, '--set', 'admissionPolicy.enabled=true']
    const args = ['upgrade', '--install', 'edge', chartFolder, '--namespace', namespace, ...values]
    const { status, stderr } = helm(args, newest.path)
    assert.equal(status, 0, stderr)
    const creation = ingress({ 'haproxy.org/ssl-passthrough': 'true' })
    await eventually(
      () => admit({ title: '', creation }),
      (reply) => reply.status === 403,
      60_000,
    )
    assert.equal((await admit({ title: '', creation: ingress({}) })).status, 201)
    helm(['uninstall', 'edge', '--namespace', namespace], newest.path)
    const { body } = await server.ask('GET', pathOf(policies, 'validatingadmissionpolicies'))
    assert.deepEqual(
      body.items.filter(({ metadata }: Any) => /entra/.test(metadata.name)),
      [],
    )
    // A policy counts for a moment after it was removed.
    await eventually(
      () => admit({ title: '', creation }),
      (reply) => reply.status === 201,
      60_000,
    )
  })
})

describe("the recipes' objects", () => {
  for (const file of [
    'kubernetes/verifier-config.yaml',
    'kubernetes/network-policy.yaml',
    'haproxy-ingress/ingress-auth-url.yaml',
    'haproxy-ingress/gateway.yaml',
  ]) {
    it(`are admitted and read back, also the second time: ${file}`, async () => {
      for (const { object, path } of objectsOf(recipeFile(file))) {
        const place = object.metadata.namespace
          ? path
          : path.replace('/v1/config', '/v1/namespaces/default/config')
        const created = await server.ask('POST', `${place}?fieldValidation=Strict`, object)
        assert.equal(created.status, 201, created.body.message)
        const { status, body } = await server.ask('GET', `${place}/${object.metadata.name}`)
        assert.equal(status, 200)
        assert.deepEqual({ ...body.spec, ...body.data }, { ...body.spec, ...object.data })
        const again = await server.ask('PUT', `${place}/${object.metadata.name}`, {
          ...object,
          metadata: { ...object.metadata, resourceVersion: body.metadata.resourceVersion },
        })
        assert.equal(again.status, 200, again.body.message)
      }
    })
  }
})
