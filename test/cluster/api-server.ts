/** A real kube-apiserver with a real etcd on loopback: no node, no controller, nobody but us. */
import { spawn } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Agent, fetch } from 'undici'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { type Life, makeFolder } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'

/** An answer of the API server. */
export interface ApiReply {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: any object of Kubernetes.
  readonly body: any
}

export interface ApiServer {
  /** For Helm. */
  readonly kubeconfig: string
  ask(method: string, path: string, body?: object): Promise<ApiReply>
}

/** Starts both, and stops them with the test. */
export async function startApiServer(t: Life): Promise<ApiServer> {
  const [etcd = '', ...etcdArgs] = (process.env.ETCD ?? '').split(' ')
  const apiServer = process.env.KUBE_APISERVER ?? ''
  const folder = makeFolder(t)
  const [client = 0, peer = 0, port = 0] = await freePorts(3)
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const { cert, key } = await createTlsIdentity(Date.now, randomBytes)
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const token = randomBytes(16).toString('hex')
  const certFile = file('tls.crt', cert)
  const options = {
    'tls-cert-file': certFile,
    'tls-private-key-file': file('tls.key', key),
    'token-auth-file': file('tokens', `${token},tester,tester,system:masters\n`),
    'service-account-key-file': file(
      'sa.pub',
      String(publicKey.export({ type: 'spki', format: 'pem' })),
    ),
    'service-account-signing-key-file': file(
      'sa.key',
      String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    ),
    'service-account-issuer': 'https://cluster.example',
    'service-cluster-ip-range': '10.96.0.0/16,fd00:10:96::/112',
    'authorization-mode': 'RBAC',
    // Nobody makes the default service accounts here.
    'disable-admission-plugins': 'ServiceAccount',
    'etcd-servers': `http://127.0.0.1:${client}`,
    'bind-address': '127.0.0.1',
    'secure-port': String(port),
  }
  const run = (name: string, command: string, args: readonly string[]) => {
    const log = openSync(join(folder, `${name}.log`), 'w')
    const child = spawn(command, args, { cwd: folder, stdio: ['ignore', log, log] })
    const ended = once(child, 'exit')
    t.after(() => {
      child.kill('SIGKILL')
      return ended
    })
    return child
  }
  const own = `http://127.0.0.1:${client}`
  const other = `http://127.0.0.1:${peer}`
  run('etcd', etcd, [
    ...etcdArgs,
    ...['--data-dir', join(folder, 'etcd'), '--listen-client-urls', own],
    ...['--advertise-client-urls', own, '--listen-peer-urls', other],
    ...['--initial-advertise-peer-urls', other, '--initial-cluster', `default=${other}`],
  ])
  const child = run(
    'apiserver',
    apiServer,
    Object.entries(options).map(([name, value]) => `--${name}=${value}`),
  )

  const dispatcher = new Agent({ connect: { ca: cert } })
  t.after(() => dispatcher.close())
  const origin = `https://127.0.0.1:${port}`
  const ask: ApiServer['ask'] = async (method, path, body) => {
    const reply = await fetch(origin + path, {
      method,
      dispatcher,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    })
    const text = await reply.text()
    return { status: reply.status, body: text.startsWith('{') ? JSON.parse(text) : text }
  }
  await eventually(
    () => {
      if (child.exitCode !== null) {
        throw new Error(readFileSync(join(folder, 'apiserver.log'), 'utf8').slice(-2000))
      }
      return ask('GET', '/readyz').then(
        ({ status }) => status,
        () => 0,
      )
    },
    (status) => status === 200,
    300_000,
  )
  const kubeconfig = file(
    'kubeconfig',
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: origin, 'certificate-authority': certFile } }],
      users: [{ name: 'u', user: { token } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    }),
  )
  return { kubeconfig, ask }
}

/** Where objects of a kind are. */
export function pathOf(apiVersion: string, resource: string, namespace?: string): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  return `${root}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${resource}`
}

/** Makes a kind known whose objects may say anything. */
export async function addKind(
  server: ApiServer,
  group: string,
  kind: string,
  plural: string,
  versions: readonly string[],
  scope = 'Namespaced',
): Promise<void> {
  const { status, body } = await server.ask(
    'POST',
    '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
    {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: {
        name: `${plural}.${group}`,
        annotations: { 'api-approved.kubernetes.io': 'unapproved, for a test' },
      },
      spec: {
        group,
        scope,
        names: { kind, plural, singular: kind.toLowerCase() },
        versions: versions.map((name, index) => ({
          name,
          served: true,
          storage: index === 0,
          schema: {
            openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
          },
        })),
      },
    },
  )
  if (status !== 201) throw new Error(JSON.stringify(body))
  await eventually(
    () => server.ask('GET', pathOf(`${group}/${versions[0]}`, plural)),
    (reply) => reply.status === 200,
    60_000,
  )
}
