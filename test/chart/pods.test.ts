import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { loadConfig } from '../../src/config/load.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import {
  helms,
  type Manifest,
  only,
  parseManifests,
  renderShape,
  shapes,
  template,
} from './render.ts'

const helm = helms.at(-1) ?? assert.fail('no Helm')
const identity = await createTlsIdentity(Date.now, randomBytes)

/** Variables that the image of the service brings; see the Dockerfile. */
const imageEnv = { NODE_ENV: 'production', ENTRA_AUTH_HOST: '0.0.0.0' }

/** What a mounted Secret holds, by the last part of the path. */
const secrets: Readonly<Record<string, string>> = {
  'tls.crt': identity.cert,
  'tls.key': identity.key,
}

for (const shape of shapes) {
  describe(`the pods of ${shape.name}`, () => {
    const manifests = renderShape(helm, shape)
    const deployment = only(manifests, 'Deployment')
    const pod = deployment.spec.template.spec
    const [container] = pod.containers
    const pods = [pod, only(manifests, 'Pod').spec]

    it('run without privileges, on a read-only root, without a token for the API', () => {
      for (const { automountServiceAccountToken, securityContext, containers } of pods) {
        assert.equal(automountServiceAccountToken, false)
        assert.equal(securityContext.runAsNonRoot, true)
        assert.equal(securityContext.seccompProfile.type, 'RuntimeDefault')
        assert.equal(containers.length, 1)
        const own = containers[0].securityContext
        assert.equal(own.allowPrivilegeEscalation, false)
        assert.equal(own.readOnlyRootFilesystem, true)
        assert.deepEqual(own.capabilities, { drop: ['ALL'] })
      }
    })

    it('have a volume for each mount, a mount for each volume, and no file mounted by itself', () => {
      const names = (list: readonly { name: string }[]) => list.map(({ name }) => name).toSorted()
      assert.deepEqual(names(container.volumeMounts), names(pod.volumes))
      const paths = container.volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)
      assert.equal(new Set(paths).size, paths.length)
      assert.deepEqual(
        container.volumeMounts.filter((mount: object) => 'subPath' in mount),
        [],
      )
    })

    it('get the time that the service needs to end', () => {
      const sleep = container.lifecycle?.preStop.sleep.seconds ?? 0
      // The drain of 1.5 s is part of the 10 s after which the service ends itself.
      assert.ok(pod.terminationGracePeriodSeconds >= sleep + 10)
    })

    it('are those that Service, budget, spread, monitors and network policy select', () => {
      const { labels } = deployment.spec.template.metadata
      const selectors = [
        deployment.spec.selector.matchLabels,
        only(manifests, 'Service').spec.selector,
        ...pod.topologySpreadConstraints.map(
          (spread: { labelSelector: { matchLabels: object } }) => spread.labelSelector.matchLabels,
        ),
        ...manifests
          .filter(({ kind }) => ['PodDisruptionBudget', 'PodMonitor'].includes(kind))
          .map(({ spec }) => spec.selector.matchLabels),
        ...manifests
          .filter(({ kind }) => kind === 'NetworkPolicy')
          .map(({ spec }) => spec.podSelector.matchLabels),
      ]
      for (const selector of selectors) {
        assert.deepEqual({ ...labels, ...selector }, labels)
        // Nor may the pod of `helm test` get requests, or count for the budget.
        const test = only(manifests, 'Pod').metadata.labels
        assert.notDeepEqual({ ...test, ...selector }, test)
      }
    })

    it('have the ports that probes, Service and monitors name', () => {
      const known = container.ports.map(({ name }: { name: string }) => name)
      const probes = ['startupProbe', 'readinessProbe', 'livenessProbe'].map(
        (probe) => container[probe].httpGet.port,
      )
      const service = only(manifests, 'Service')
      const targets = service.spec.ports.map((port: { targetPort: string }) => port.targetPort)
      for (const port of [...probes, ...targets]) assert.ok(known.includes(port), port)
      for (const { kind, spec } of manifests) {
        if (kind !== 'ServiceMonitor') continue
        const names = service.spec.ports.map(({ name }: { name: string }) => name)
        assert.ok(spec.endpoints.every(({ port }: { port: string }) => names.includes(port)))
        assert.deepEqual(
          { ...service.metadata.labels, ...spec.selector.matchLabels },
          service.metadata.labels,
        )
      }
    })

    if (shape.name === 'existing-config-map') return

    it('start with the configuration: the service accepts it, and each file in it is mounted', async () => {
      const loaded = await load(manifests)
      assert.ok(loaded.ok, JSON.stringify(!loaded.ok && loaded.problems, undefined, 2))
      const { listen, metrics, admin, callerKey, keyStore, revocationFile } = loaded.config
      const ports: Readonly<Record<string, number>> = Object.fromEntries(
        container.ports.map((port: { name: string; containerPort: number }) => [
          port.name,
          port.containerPort,
        ]),
      )
      assert.deepEqual(
        { verify: listen.port, metrics: metrics.port },
        { verify: ports.verify, metrics: ports.metrics },
      )
      const everywhere = /^(0\.0\.0\.0|::)$/
      assert.match(listen.host, everywhere)
      assert.match(metrics.host, everywhere)
      if (admin.key === undefined) assert.equal(admin.host, '127.0.0.1')
      else assert.equal(admin.port, ports.admin)
      assert.equal(
        container.readinessProbe.httpGet.scheme,
        listen.tls === undefined ? 'HTTP' : 'HTTPS',
      )
      const wantsKey = pod.volumes.some(({ name }: { name: string }) =>
        ['caller-key', 'key-vault'].includes(name),
      )
      if (wantsKey) assert.notEqual(callerKey, undefined)
      for (const path of [keyStore, revocationFile]) {
        if (path !== undefined) assert.ok(mountOf(pod, path), path)
      }
    })
  })
}

describe('the configuration in the pods', () => {
  const values = (more: string) =>
    `tenantId: 11111111-1111-4111-8111-111111111111\naudience: [api://orders]\n${more}`
  const render = (text: string) => parseManifests(template(helm, text).stdout)

  it('is that of the environment variables where tenant and audience are all there is', async () => {
    const loaded = await load(render(values('keyStore: { enabled: false }')))
    const alone = await loadConfig({
      env: {
        ENTRA_AUTH_TENANT_ID: '11111111-1111-4111-8111-111111111111',
        ENTRA_AUTH_AUDIENCE: 'api://orders',
      },
      readFile: () => assert.fail('no file'),
    })
    assert.ok(loaded.ok && alone.ok)
    assert.deepEqual(
      { ...loaded.config, listen: 0, metrics: 0 },
      { ...alone.config, listen: 0, metrics: 0 },
    )
  })

  it('takes the audiences as text with commas too', async () => {
    const text = values('').replace('[api://orders]', '"api://orders, api://other"')
    const loaded = await load(render(text))
    assert.ok(loaded.ok)
    assert.deepEqual(loaded.config.policies[0]?.audiences, ['api://orders', 'api://other'])
  })

  it('replaces the pods when it changes, unless they are to take it in as they run', () => {
    const checksum = (more: string) =>
      only(render(values(more)), 'Deployment').spec.template.metadata.annotations?.[
        'checksum/config'
      ]
    const first = checksum('')
    assert.match(first, /^[0-9a-f]{64}$/)
    assert.equal(checksum(''), first)
    assert.notEqual(checksum('config: { clockSkewSeconds: 1 }'), first)
    assert.equal(checksum('restartOnConfigChange: false'), undefined)
  })
})

/** Loads the configuration as the container would: from its volumes, with its environment. */
async function load(manifests: readonly Manifest[]) {
  const pod = only(manifests, 'Deployment').spec.template.spec
  const [container] = pod.containers
  const env = Object.fromEntries(
    (container.env as { name: string; value?: string }[]).map(({ name, value }) => [name, value]),
  )
  return loadConfig({
    file: container.args[container.args.indexOf('--config') + 1],
    env: { ...imageEnv, ...env },
    readFile(path) {
      const volume = mountOf(pod, path)
      const name = path.split('/').at(-1) ?? ''
      if (volume?.configMap) {
        const text = only(manifests, 'ConfigMap', volume.configMap.name).data?.[name]
        return text ?? assert.fail(`${path} is not in the ConfigMap`)
      }
      if (volume?.secret) return secrets[name] ?? `a key named ${name}`.replaceAll(' ', '-')
      assert.ok(volume?.csi, `${path} is not mounted`)
      const own = manifests.find(({ kind }) => kind === 'SecretProviderClass')
      const { secretProviderClass } = volume.csi.volumeAttributes
      assert.equal(secretProviderClass, own?.metadata.name ?? 'entra-auth-keys')
      if (own) assert.match(own.spec.parameters.objects, new RegExp(`objectAlias: ${name}\n`))
      return 'a-key-out-of-the-vault'
    },
  })
}

// biome-ignore lint/suspicious/noExplicitAny: checked against the Kubernetes schemas elsewhere; what is missing here fails the test.
function mountOf(pod: any, path: string): any {
  const mount = pod.containers[0].volumeMounts.find(
    (one: { mountPath: string }) => path.startsWith(`${one.mountPath}/`) || path === one.mountPath,
  )
  return mount && pod.volumes.find(({ name }: { name: string }) => name === mount.name)
}
