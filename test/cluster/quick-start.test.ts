// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the shell writes variables like this
/**
 * The part of the quick start for Kubernetes, word for word: its commands run as they are on the page,
 * with kubectl and Helm at a real API server, and the pod that they make runs as processes. Stand-ins:
 * HAProxy's own chart is one with the same names and mounts, and `port-forward` is left out, since the
 * requests are sent in the pod's own network.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { managedHeaders, spellingsOf } from '../../src/haproxy/strip.ts'
import { helms } from '../chart/render.ts'
import { makeFolder } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { type ApiServer, pathOf, startApiServer } from './api-server.ts'
import { makeNetwork, type Network, type Pod, type PodSpec, startPod } from './pod.ts'

const root = resolve(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/quick-start.md'), 'utf8')

/** The text of a section of the page, by its heading. */
function sectionOf(heading: string): string {
  const [, text] = page.split(`\n## ${heading}\n`)
  assert.ok(text, heading)
  return text.split('\n## ')[0] ?? ''
}

/** The code blocks of a section with this language. */
function blocksOf(heading: string, language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms')
  return [...sectionOf(heading).matchAll(fence)].map(([, block = '']) => block)
}

const [commands = ''] = blocksOf('Kubernetes', 'sh')
/** The reader edits haproxy.cfg before Helm reads it. */
const [untilEdit = '', fromEdit = ''] = commands.split(/^(?=helm repo add )/m)
const requests = blocksOf('6. See it protect', 'console')
  .flatMap((block) => block.split('\n'))
  .filter((line) => line.startsWith('$ curl '))
  .map((line) => line.slice(2))

/** An application that says what reached it; `/slow` answers when there is a file. */
const application = `
const { createServer } = require('node:http')
const { existsSync } = require('node:fs')
createServer(async (request, response) => {
  while (request.url === '/slow' && !existsSync(process.argv[1])) await new Promise((go) => setTimeout(go, 20))
  response.end(JSON.stringify(request.rawHeaders))
}).listen(80, '127.0.0.1')`

describe('the quick start on Kubernetes', () => {
  const cleanUps: (() => unknown)[] = []
  const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  const release = () => writeFileSync(join(folder, 'release'), '')
  let folder = ''
  let server: ApiServer
  let network: Network
  let pod: Pod
  let token = ''
  let binaries = ''

  const sh = async (script: string) => {
    const child = spawn('bash', ['-euo', 'pipefail', '-c', script], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: `${binaries}${delimiter}${process.env.PATH}`,
        HOME: folder,
        KUBECONFIG: server.kubeconfig,
      },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    }
    const [code] = await once(child, 'close')
    assert.equal(code, 0, `${script}\n${output}`)
    return output
  }
  const inPod = (script: string) => network.run(['env', `TOKEN=${token}`, 'bash', '-c', script])

  before(async () => {
    folder = makeFolder(life)
    server = await startApiServer(life)
    binaries = join(folder, 'bin')
    mkdirSync(binaries)
    const program = (name: string, text: string) => {
      writeFileSync(join(binaries, name), `#!/bin/bash\n${text}\n`)
      chmodSync(join(binaries, name), 0o755)
    }
    const node = `exec "${process.execPath}" "${join(root, 'src/main.ts')}"`
    program('haproxy-entra-auth', `${node} "$@"`)
    program(
      'kubectl',
      `case "$*" in *port-forward*) echo "kubectl $*" > "${folder}/forwarded"; exit 0;; esac
exec "${process.env.KUBECTL}" "$@"`,
    )
    const helm = helms.at(-1) ?? assert.fail('no Helm')
    program(
      'helm',
      `[ "$1" != repo ] || exit 0
exec "${helm.path}" "\${@/#haproxytech\\/haproxy/${join(import.meta.dirname, 'haproxy-chart')}}"`,
    )
    // A checkout, with the reader's tenant in the file: dev-entra of the page, in place of Entra.
    for (const name of ['recipes', 'haproxy-lua']) {
      cpSync(join(root, name), join(folder, name), { recursive: true })
    }
    const file = join(folder, 'recipes/kubernetes/verifier-config.yaml')
    const text = readFileSync(file, 'utf8')
    const edited = text.replace(
      /contoso: (\S+) # CHANGE.*/,
      'contoso: { id: $1, authority: "http://127.0.0.1:8400" }',
    )
    assert.notEqual(edited, text)
    writeFileSync(file, edited)
    network = await makeNetwork(life, folder, ['orders.default.svc'])
    for (const command of [
      [process.execPath, join(root, 'src/main.ts'), 'dev-entra'],
      [process.execPath, '-e', application, join(folder, 'release')],
    ]) {
      const child = network.spawn(command, { stdio: 'ignore' })
      life.after(() => child.kill('SIGKILL'))
    }
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  it('has commands until the edit, and after it', () => {
    assert.match(untilEdit, /haproxy-config/)
    assert.match(fromEdit, /helm upgrade --install edge haproxytech\/haproxy /)
    assert.equal(requests.length, 2)
  })

  it('runs its commands, also a second time', async () => {
    for (let time = 1; time <= 2; time++) {
      await sh(untilEdit)
      const file = join(folder, 'haproxy.cfg')
      const text = readFileSync(file, 'utf8')
      const edits = [...text.matchAll(/(?<=# CHANGE: the application\n +)server app .*/g)]
      assert.deepEqual(
        edits.map(([line]) => line),
        ['server app 127.0.0.1:3000'],
      )
      writeFileSync(
        file,
        text.replace('server app 127.0.0.1:3000', 'server app orders.default.svc:80'),
      )
      await sh(fromEdit)
    }
  })

  it('forwards a port of the Service that its pods have', async () => {
    assert.equal(
      readFileSync(join(folder, 'forwarded'), 'utf8').trim(),
      'kubectl -n edge port-forward service/edge-haproxy 8000:8000',
    )
    const service = (await server.ask('GET', `${pathOf('v1', 'services', 'edge')}/edge-haproxy`))
      .body
    const { targetPort } = service.spec.ports.find(({ port }: { port: number }) => port === 8000)
    const { template } = await deployment()
    assert.deepEqual(
      { ...template.metadata.labels, ...service.spec.selector },
      template.metadata.labels,
    )
    const [haproxy] = template.spec.containers
    const { containerPort } = haproxy.ports.find(
      ({ name }: { name: string }) => name === targetPort,
    )
    assert.equal(containerPort, 8000)
  })

  it('makes pods that start in the order of the kubelet', async () => {
    const { template } = await deployment()
    pod = await startPod(life, network, folder, template.spec as PodSpec, async (name) => {
      const path = `${pathOf('v1', 'configmaps', 'edge')}/${name}`
      const { status, body } = await server.ask('GET', path)
      assert.equal(status, 200, name)
      return body.data
    })
    const { port, path } = template.spec.initContainers[0].readinessProbe.httpGet
    await eventually(
      () => pod.probe(port, path),
      (status) => status === 200,
      60_000,
    )
    await eventually(
      () => pod.probe(8000, '/'),
      (status) => status === 401,
      60_000,
    ).catch((error) => assert.fail(`${error.message}\n${pod.logs()}`))
  })

  it('refuses a request without a token and lets one with a token through, by the commands of step 6', async () => {
    const [set = ''] =
      /TOKEN=\$\((haproxy-entra-auth dev-entra token alice)\)/.exec(page)?.slice(1) ?? []
    const issued = await network.run([
      join(binaries, 'haproxy-entra-auth'),
      ...set.split(' ').slice(1),
    ])
    token = issued.stdout.trim()
    assert.match(token, /^[\w-]+\.[\w-]+\.[\w-]+$/)
    const [without = '', withToken = ''] = requests
    const refused = (await inPod(without)).stdout
    assert.match(refused, /^HTTP\/1\.1 401 Unauthorized\r\n/)
    assert.match(refused, /^x-entra-auth-reason: no_credentials\r$/m)
    const allowed = (await inPod(withToken)).stdout
    assert.match(allowed, /^HTTP\/1\.1 200 OK\r\n/)
    assert.match(allowed, /X-Auth-Request-User","a1111111-1111-4111-8111-111111111111"/i)
  })

  it('lets no identity header of a client through, in any spelling, and no forged token', async () => {
    const forged = managedHeaders('x-auth-request').flatMap(spellingsOf)
    const flags = forged.map((name) => `-H '${name}: forged'`)
    for (let start = 0; start < flags.length; start += 40) {
      const some = flags.slice(start, start + 40).join(' ')
      const { stdout } = await inPod(
        `curl -s http://127.0.0.1:8000/ -H "Authorization: Bearer $TOKEN" ${some}`,
      )
      assert.match(stdout, /X-Auth-Request-User/i)
      assert.doesNotMatch(stdout, /forged/)
    }
    const { stdout } = await inPod(
      'curl -s -o /dev/null -w "%{http_code}" http://127.0.0.1:8000/ -H "Authorization: Bearer ${TOKEN%????}AAAA"',
    )
    assert.equal(stdout, '401')
  })

  it('ends a pod without losing a request: HAProxy first, the verifier after it', async () => {
    const slow = inPod(
      'curl -s -o /dev/null -w "%{http_code}" http://127.0.0.1:8000/slow -H "Authorization: Bearer $TOKEN"',
    )
    const issued = await network.run([
      join(binaries, 'haproxy-entra-auth'),
      'dev-entra',
      'token',
      'alice',
    ])
    const second = issued.stdout.trim()
    assert.notEqual(second, token)
    // A request that had begun before, with a token that no cache has.
    const kept = network.spawn([process.execPath, '-e', keptConnection, second], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let said = ''
    kept.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    life.after(() => kept.kill('SIGKILL'))
    await eventually(
      () => said,
      (text) => text.includes('401'),
    )
    const order: string[] = []
    const ended = pod.terminate((container) => void order.push(container))
    await eventually(
      () => pod.probe(8000, '/'),
      (status) => status === 0,
    )
    // HAProxy takes no new connection, and still asks the verifier for what it has.
    kept.stdin?.end('go\n')
    await eventually(
      () => said,
      (text) => /401\s+200/.test(text),
    )
    assert.deepEqual(order, [])
    release()
    assert.equal((await slow).stdout, '200')
    await ended
    assert.deepEqual(order, ['haproxy', 'verifier'])
  })

  async function deployment() {
    const path = `${pathOf('apps/v1', 'deployments', 'edge')}/edge-haproxy`
    return (await server.ask('GET', path)).body.spec
  }
})

/**
 * A request without a token, and the first lines of a second one in the same packet; its last lines, with a
 * token, when it is told to.
 */
const keptConnection = `
const socket = require('node:net').connect(8000, '127.0.0.1', () => {
  socket.write('GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\nGET / HTTP/1.1\\r\\nHost: a\\r\\n')
})
socket.setEncoding('utf8').on('data', (text) => {
  for (const [, status] of text.matchAll(/HTTP.1.1 ([0-9]+)/g)) console.log(status)
}).on('close', () => process.exit(0))
process.stdin.once('data', () => {
  socket.write('Authorization: Bearer ' + process.argv[1] + '\\r\\nConnection: close\\r\\n\\r\\n')
})`
