/**
 * The pods of the Kubernetes recipes as they are put together: the verifier starts with the image's own
 * environment and the recipe's files, on ports that nothing else in the pod uses, and HAProxy starts
 * before its controller has written anything.
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { checkWithHaproxy } from '../haproxy-config/haproxy-check.ts'
import { parseDockerfile, textsOf } from '../package/dockerfile.ts'
import { contoso, startAuthority } from '../serve/authority.ts'
import { makeFolder, startService, untilReady } from '../serve/process.ts'
import { recipeFile, sidecarConfig } from './recipe-files.ts'

const dockerfile = readFileSync(resolve(import.meta.dirname, '../../Dockerfile'), 'utf8')
const image = parseDockerfile(dockerfile).at(-1) ?? assert.fail('no stage')

/** The variables that the image sets, as the Dockerfile has them. */
const imageEnv: Readonly<Record<string, string>> = Object.fromEntries(
  textsOf(image, 'ENV').flatMap((line) => line.split(/\s+/).map((pair) => pair.split('=', 2))),
)

const kubernetesIngress = parse(recipeFile('kubernetes-ingress/values.yaml')).controller

/** Values of a chart, where the pod's containers are in them, and the ports that the pod has taken. */
const pods = [
  {
    name: 'kubernetes-ingress',
    values: kubernetesIngress,
    // Chart 1.52.1: http, https, stat, prometheus and pprof of the controller.
    taken: [8080, 8443, 1024, 6060],
  },
  {
    name: 'haproxy-ingress',
    values: parse(recipeFile('haproxy-ingress/values.yaml')).controller,
    // Chart 0.15: http, https, stats, healthz, metrics of HAProxy and of the controller.
    taken: [80, 443, 1936, 10253, 9101, 10254],
  },
  { name: 'haproxy-chart', values: parse(recipeFile('haproxy-chart/values.yaml')), taken: [8000] },
]

describe('the verifier in the pods of the recipes', () => {
  it('starts with the environment of the image and the configuration of the recipe', async (t) => {
    assert.equal(imageEnv.ENTRA_AUTH_HOST, '0.0.0.0')
    const authority = await startAuthority(t)
    const [verify = 0, metrics = 0] = await freePorts(2)
    const config = sidecarConfig
      .replace(/(listen: \{ host: 127\.0\.0\.1, port: )\d+/, `$1${verify}`)
      .replace(/(metrics: \{ host: 0\.0\.0\.0, port: )\d+/, `$1${metrics}`)
      .replace(`contoso: ${contoso}`, `contoso: { id: ${contoso}, authority: ${authority.origin} }`)
    const file = join(makeFolder(t), 'config.yaml')
    writeFileSync(file, config)
    const service = await startService(
      t,
      // The file names its own ports, so those that the test's launcher sets must not stand beside.
      { ...imageEnv, ENTRA_AUTH_PORT: '', ENTRA_AUTH_METRICS_PORT: '' },
      { port: verify, args: ['--config', file] },
    )
    await untilReady(service)
    const listening = await service.waitForLog(({ msg }) => msg === 'listening')
    assert.deepEqual(listening.listen, { host: '127.0.0.1', port: verify, tls: false })
  })

  for (const { name, values, taken } of pods) {
    it(`is a native sidecar, which starts before HAProxy and ends after it: ${name}`, () => {
      assert.equal(values.extraContainers ?? values.sidecarContainers, undefined)
      const [verifier] = values.initContainers
      assert.equal(verifier.restartPolicy, 'Always')
      assert.equal(verifier.startupProbe.httpGet.path, '/livez')
    })

    it(`listens on no port that the pod has already: ${name}`, () => {
      const { listen, metrics } = parse(sidecarConfig)
      const own = [listen.port, metrics.port, 14480]
      assert.deepEqual(
        own.filter((port) => taken.includes(port)),
        [],
      )
      assert.equal(new Set(own).size, own.length)
    })
  }
})

describe('kubernetes-ingress on a fresh pod', () => {
  it('starts HAProxy before the controller has written a snippet', async () => {
    // What the controller's image brings: no variable of ours, and no action.
    const initial = `global
    default-path config

defaults haproxytech
    timeout http-request 5000
    timeout connect 5000
    timeout client 50000
    timeout queue 5000
    timeout server 50000

frontend healthz from haproxytech
    bind 127.0.0.1:1042
    mode http
    monitor-uri /healthz
`
    const { problem } = await checkWithHaproxy(`${initial}\n${kubernetesIngress.auxiliaryConfig}`)
    assert.equal(problem, '')
  })
})

describe('haproxy-ingress', () => {
  it('gets the IngressClass that its Ingress names', () => {
    const { controller } = parse(recipeFile('haproxy-ingress/values.yaml'))
    const ingress = parse(recipeFile('haproxy-ingress/ingress-auth-url.yaml'))
    assert.equal(controller.ingressClassResource.enabled, true)
    assert.equal(ingress.spec.ingressClassName, 'haproxy')
  })
})

describe('the network policy of the recipe', () => {
  const { kind, spec } = parse(recipeFile('kubernetes/network-policy.yaml'))

  it('lets nobody in but pods of HAProxy in the namespace of HAProxy', () => {
    assert.equal(kind, 'NetworkPolicy')
    assert.deepEqual(spec.podSelector, {})
    assert.deepEqual(spec.policyTypes, ['Ingress'])
    const peers = spec.ingress.flatMap(({ from }: { from: object[] }) => from)
    assert.equal(peers.length, 1)
    assert.deepEqual(Object.keys(peers[0]).toSorted(), ['namespaceSelector', 'podSelector'])
    for (const selector of Object.values<{ matchLabels: object }>(peers[0])) {
      assert.ok(Object.keys(selector.matchLabels).length > 0)
    }
  })
})

describe('the commands of the Kubernetes recipes', () => {
  const pages = {
    'recipes/haproxy-chart.md': 'edge',
    'recipes/haproxy-ingress.md': 'ingress-controller',
    'recipes/kubernetes-ingress.md': 'haproxy-controller',
    'quick-start.md': 'edge',
  }

  for (const [page, namespace] of Object.entries(pages)) {
    it(`name their namespace and can be repeated: ${page}`, () => {
      const text = readFileSync(resolve(import.meta.dirname, '../../docs', page), 'utf8')
      const commands = [...text.matchAll(/^```sh\n(.*?)^```$/gms)]
        .flatMap(([, block = '']) => block.replaceAll(/\\\n\s*/g, ' ').split('\n'))
        .filter((line) => /^(kubectl|helm) /.test(line))
      assert.ok(commands.length >= 4)
      for (const command of commands) {
        assert.doesNotMatch(command, /^helm install /)
        if (/^kubectl .*\bcreate\b/.test(command)) {
          assert.match(command, /--dry-run=client -o yaml \| kubectl apply -f -$/)
        }
        // Policies are of the whole cluster, and the files of a Gateway and an Ingress name their own.
        if (
          /^helm repo |create namespace|apply -f recipes\/\S+(policy|auth-url|gateway)/.test(
            command,
          )
        )
          continue
        assert.match(command, new RegExp(`(-n|--namespace) ${namespace}\\b`))
      }
    })
  }
})
