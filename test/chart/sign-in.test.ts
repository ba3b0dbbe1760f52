/** What the chart adds for sign-in: the second port, the sealing keys, and the credential. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import { createSealingKey } from '../../src/session/sealing.ts'
import type { Life } from '../serve/process.ts'
import {
  helms,
  imageValues,
  only,
  parseManifests,
  renderShape,
  shapes,
  template,
} from './render.ts'

const helm = helms.at(-1) ?? assert.fail('no Helm')
const minimal = 'tenantId: 11111111-1111-4111-8111-111111111111\naudience: [api://orders]\n'

function shapeOf(name: string) {
  return renderShape(helm, shapes.find((one) => one.name === name) ?? assert.fail(name))
}

function configOf(manifests: ReturnType<typeof shapeOf>) {
  const map = only(manifests, 'ConfigMap', 'edge-haproxy-entra-auth')
  return parse(map.data?.['config.yaml'] ?? '')
}

type Named = { readonly name: string }

describe('the sign-in listener', () => {
  it('has a port in pods and Service, and is allowed wherever the verify listener is', () => {
    for (const [shape, port, servicePort] of [
      ['sign-in', 8081, 8081],
      ['sign-in-certificate', 8081, 80],
      ['sign-in-federated', 8181, 8081],
    ] as const) {
      const manifests = shapeOf(shape)
      const [container] = only(manifests, 'Deployment').spec.template.spec.containers
      const own = container.ports.find(({ name }: Named) => name === 'sign-in')
      assert.equal(own.containerPort, port)
      assert.equal(configOf(manifests).signIn.listen.port, port)
      const { ports } = only(manifests, 'Service').spec
      const seen = ports.find(({ name }: Named) => name === 'sign-in')
      assert.deepEqual([seen.port, seen.targetPort], [servicePort, 'sign-in'])
      for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
        assert.notEqual(container[probe].httpGet.port, 'sign-in')
      }
    }
    const [first] = only(shapeOf('sign-in'), 'NetworkPolicy').spec.ingress
    assert.deepEqual(
      first.ports.map(({ port }: { port: string }) => port),
      ['verify', 'sign-in'],
    )
  })

  it('is absent without config.signIn', () => {
    const { stdout } = template(
      helm,
      `${minimal}networkPolicy: { enabled: true, verifyFrom: [{ podSelector: {} }] }`,
    )
    const kinds = ['Deployment', 'Service', 'NetworkPolicy', 'Secret']
    const own = parseManifests(stdout).filter(({ kind }) => kinds.includes(kind))
    assert.equal(own.length, 3)
    assert.doesNotMatch(JSON.stringify(own), /sign-in|sealing/)
  })
})

describe('the credential of sign-in', () => {
  it('is the token of workload identity, a projected token, or a certificate, and never a secret', () => {
    const azure = configOf(shapeOf('sign-in')).signIn.credential
    assert.deepEqual(azure, {
      federatedTokenFile: '/var/run/secrets/azure/tokens/azure-identity-token',
    })
    const manifests = shapeOf('sign-in-federated')
    const pod = only(manifests, 'Deployment').spec.template.spec
    const { federatedTokenFile } = configOf(manifests).signIn.credential
    const [source] = pod.volumes.find(({ name }: Named) => name === 'federated-token').projected
      .sources
    const mount = pod.containers[0].volumeMounts.find(
      ({ name }: Named) => name === 'federated-token',
    )
    assert.equal(federatedTokenFile, `${mount.mountPath}/${source.serviceAccountToken.path}`)
    assert.equal(source.serviceAccountToken.audience, 'api://AzureADTokenExchange')
    assert.equal(pod.automountServiceAccountToken, false)
    assert.deepEqual(configOf(shapeOf('sign-in-certificate')).signIn.credential, {
      certificateFile: '/etc/haproxy-entra-auth/sign-in/tls.crt',
      keyFile: '/etc/haproxy-entra-auth/sign-in/tls.key',
    })
    const schema = template(helm, `${minimal}config: { signIn: { clientSecret: s } }`)
    assert.notEqual(schema.code, 0)
  })
})

const values = `${minimal}config: { signIn: { clientId: 33333333-3333-4333-8333-333333333333, hosts: [p.example] } }
signIn: { federatedToken: { enabled: true } }
`
const secretName = 'edge-haproxy-entra-auth-sealing'

/** What an API server says of the kinds of a group. */
function resourcesOf(groupVersion: string, kinds: readonly string[]) {
  const resources = kinds.map((kind) => ({
    name: `${kind.toLowerCase()}s`,
    singularName: kind.toLowerCase(),
    namespaced: true,
    kind,
    verbs: ['get', 'create', 'patch'],
  }))
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources }
}

/** Renders as `helm upgrade` does: with an API server, whose only object is this Secret, or nothing. */
async function renderAtServer(t: Life, path: string, secret?: object) {
  const server = createServer((request, response) => {
    const url = (request.url ?? '').split('?')[0] ?? ''
    const answers: Record<string, object> = {
      '/version': { major: '1', minor: '35', gitVersion: 'v1.35.4' },
      '/api': { kind: 'APIVersions', versions: ['v1'] },
      '/apis': {
        kind: 'APIGroupList',
        apiVersion: 'v1',
        groups: ['apps', 'policy'].map((name) => {
          const version = { groupVersion: `${name}/v1`, version: 'v1' }
          return { name, versions: [version], preferredVersion: version }
        }),
      },
      '/api/v1': resourcesOf('v1', ['Secret', 'ConfigMap', 'Service', 'ServiceAccount', 'Pod']),
      '/apis/apps/v1': resourcesOf('apps/v1', ['Deployment']),
      '/apis/policy/v1': resourcesOf('policy/v1', ['PodDisruptionBudget']),
      ...(secret && { [`/api/v1/namespaces/entra/secrets/${secretName}`]: secret }),
    }
    const answer = answers[url]
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' })
    const missing = {
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      reason: 'NotFound',
      code: 404,
    }
    response.end(JSON.stringify(answer ?? missing))
  })
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done))
  t.after(() => new Promise((done) => server.close(done)))
  const { port } = server.address() as AddressInfo
  const args = ['template', 'edge', chartFolder, '--namespace', 'entra', ...imageValues]
  const more = [
    '--values',
    '-',
    '--dry-run=server',
    '--disable-openapi-validation',
    '--kube-apiserver',
    `http://127.0.0.1:${port}`,
  ]
  const child = spawn(path, [...args, ...more, '--show-only', 'templates/sealing.yaml'], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME },
  })
  const exited = once(child, 'close')
  child.stdin.end(values)
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    exited,
  ])
  assert.equal(code, 0, stderr)
  return only(parseManifests(stdout), 'Secret', secretName)
}

for (const { version, path } of helms) {
  describe(`the sealing keys with Helm ${version}`, () => {
    it('are made once, with enough bytes, and stay when the release goes', async (t) => {
      const first = await renderAtServer(t, path)
      const other = await renderAtServer(t, path)
      const key = Buffer.from(first.data?.['sealing-1.key'] ?? '', 'base64')
      assert.ok(key.length >= 32)
      assert.notEqual(createSealingKey(key).id, '')
      assert.notDeepEqual(first.data, other.data)
      assert.equal(first.metadata.annotations?.['helm.sh/resource-policy'], 'keep')
    })

    it('are kept by an upgrade, with those that somebody added', async (t) => {
      const data = { 'sealing-1.key': 'b2xk', 'sealing-2.key': 'bmV3' }
      const there = {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: {
          name: secretName,
          namespace: 'entra',
          labels: { 'app.kubernetes.io/managed-by': 'Helm' },
          annotations: {
            'meta.helm.sh/release-name': 'edge',
            'meta.helm.sh/release-namespace': 'entra',
          },
        },
        data,
      }
      assert.deepEqual((await renderAtServer(t, path, there)).data, data)
    })
  })
}

describe('the sealing keys', () => {
  it('are one Secret for all pods, at the path that the configuration names', () => {
    for (const [shape, name] of [
      ['sign-in', secretName],
      ['sign-in-certificate', 'portal-sealing'],
    ] as const) {
      const manifests = shapeOf(shape)
      const pod = only(manifests, 'Deployment').spec.template.spec
      const volume = pod.volumes.find((one: Named) => one.name === 'sealing')
      const mount = pod.containers[0].volumeMounts.find((one: Named) => one.name === 'sealing')
      assert.equal(volume.secret.secretName, name)
      assert.equal(mount.mountPath, configOf(manifests).signIn.sealingKeys)
      const secrets = manifests.filter(({ kind }) => kind === 'Secret')
      assert.equal(secrets.length, name === secretName ? 1 : 0)
    }
  })
})
