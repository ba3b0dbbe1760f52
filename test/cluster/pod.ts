/**
 * A pod as processes: its volumes are folders, its containers are processes in a network of their own,
 * and the order of start and end is that of the kubelet. Needs root, for the network.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, openSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { findHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { parseDockerfile, textsOf } from '../package/dockerfile.ts'
import type { Life } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'

const root = resolve(import.meta.dirname, '../..')
const main = join(root, 'src/main.ts')

/** A container that runs. */
interface Running {
  readonly container: Container
  readonly child: ChildProcess
  readonly ended: Promise<unknown[]>
  readonly stopSignal: NodeJS.Signals
}

interface Container {
  readonly name: string
  readonly image: string
  readonly args: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value: string }[]
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[]
  readonly restartPolicy?: string
  readonly startupProbe?: { readonly httpGet: { readonly path: string; readonly port: number } }
}

/** Of a pod, what is read here. */
export interface PodSpec {
  readonly initContainers: readonly Container[]
  readonly containers: readonly Container[]
  readonly volumes: readonly {
    readonly name: string
    readonly configMap?: { readonly name: string }
    readonly projected?: { readonly sources: readonly { readonly configMap: { name: string } }[] }
  }[]
  readonly terminationGracePeriodSeconds: number
}

/** A network with a loopback of its own, and names of its own. */
export interface Network {
  /** Starts a program in it. */
  spawn(command: readonly string[], options?: object): ChildProcess
  /** Runs a program to its end. */
  run(command: readonly string[]): Promise<{ code: number | null; stdout: string }>
}

/** Makes a network in which `names` are found at 127.0.0.1; it goes with the test. */
export async function makeNetwork(
  t: Life,
  folder: string,
  names: readonly string[],
): Promise<Network> {
  const holder = spawn('unshare', ['--net', '--mount', 'sleep', 'infinity'], { stdio: 'inherit' })
  t.after(() => holder.kill('SIGKILL'))
  const own = readlinkSync('/proc/self/ns/net')
  await eventually(
    () => readlinkSync(`/proc/${holder.pid}/ns/net`),
    (net) => net !== own,
  )
  const enter = ['-t', String(holder.pid), '--net', '--mount', '--']
  const network: Network = {
    spawn: (command, options = {}) => spawn('nsenter', [...enter, ...command], options),
    async run(command) {
      const child = network.spawn(command, { stdio: ['ignore', 'pipe', 'inherit'] })
      let stdout = ''
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        stdout += text
      })
      const [code] = await once(child, 'close')
      return { code, stdout }
    },
  }
  const hosts = join(folder, 'hosts')
  writeFileSync(hosts, ['localhost', ...names].map((name) => `127.0.0.1 ${name}\n`).join(''))
  for (const command of [
    ['ip', 'link', 'set', 'lo', 'up'],
    ['mount', '--bind', hosts, '/etc/hosts'],
  ]) {
    const { code } = await network.run(command)
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}`)
  }
  return network
}

export interface Pod {
  /** Asks a port of the pod; 0 where nobody answers. */
  probe(port: number, path: string): Promise<number>
  readonly logs: () => string
  /** Ends it as the kubelet does. `ended` is called with the name of each container that has ended. */
  terminate(ended: (container: string) => Promise<void> | void): Promise<void>
}

/** Starts a pod: sidecars first, each until its startup probe succeeds. */
export async function startPod(
  t: Life,
  network: Network,
  folder: string,
  pod: PodSpec,
  readConfigMap: (name: string) => Promise<Readonly<Record<string, string>>>,
): Promise<Pod> {
  const volumes = new Map<string, string>()
  for (const { name, configMap, projected } of pod.volumes) {
    const path = join(folder, 'volumes', name)
    mkdirSync(path, { recursive: true })
    volumes.set(name, path)
    for (const source of configMap
      ? [configMap]
      : (projected?.sources ?? []).map((s) => s.configMap)) {
      for (const [key, text] of Object.entries(await readConfigMap(source.name))) {
        writeFileSync(join(path, key), text)
      }
    }
  }
  const log = join(folder, 'pod.log')
  const probe: Pod['probe'] = async (port, path) => {
    const url = `http://127.0.0.1:${port}${path}`
    const { stdout } = await network.run([
      'curl',
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      url,
    ])
    return Number(stdout)
  }
  const logs = () => readFileSync(log, 'utf8')
  const start = async (container: Container): Promise<Running> => {
    const place = (text: string) => {
      const mounts = [...container.volumeMounts].toSorted(
        (a, b) => b.mountPath.length - a.mountPath.length,
      )
      const mount = mounts.find(({ mountPath }) => text.startsWith(`${mountPath}/`))
      return mount ? text.replace(mount.mountPath, volumes.get(mount.name) ?? '') : text
    }
    const { command, env, stopSignal } = await runImage(container.image)
    const own = (container.env ?? []).map(({ name, value }) => [name, place(value)])
    const output = openSync(log, 'a')
    const child = network.spawn([...command, ...container.args.map(place)], {
      stdio: ['ignore', output, output],
      env: { PATH: process.env.PATH, ...env, ...Object.fromEntries(own) },
    })
    const ended = once(child, 'exit')
    t.after(() => {
      child.kill('SIGKILL')
      return ended
    })
    return { container, child, ended, stopSignal }
  }
  const sidecars: Running[] = []
  for (const container of pod.initContainers) {
    if (container.restartPolicy !== 'Always') throw new Error(`${container.name} is no sidecar`)
    const sidecar = await start(container)
    sidecars.push(sidecar)
    const { port, path } = container.startupProbe?.httpGet ?? { port: 0, path: '' }
    await eventually(
      () => {
        if (sidecar.child.exitCode !== null) throw new Error(logs())
        return probe(port, path)
      },
      (status) => status === 200,
      60_000,
    )
  }
  const mains: Running[] = []
  for (const container of pod.containers) mains.push(await start(container))
  return {
    probe,
    logs,
    async terminate(tell) {
      const deadline = setTimeout(() => {
        for (const { child } of [...mains, ...sidecars]) child.kill('SIGKILL')
      }, pod.terminationGracePeriodSeconds * 1000)
      const end = async ({ child, ended, stopSignal, container }: Running) => {
        child.kill(stopSignal)
        const [code, signal] = await ended
        if (code !== 0) throw new Error(`${container.name} ended with ${code ?? signal}: ${logs()}`)
        await tell(container.name)
      }
      await Promise.all(mains.map(end))
      // Sidecars end after the last container, in the order against that of their start.
      for (const sidecar of sidecars.toReversed()) await end(sidecar)
      clearTimeout(deadline)
    },
  }
}

/** What the image of a container does at its start. */
async function runImage(image: string) {
  if (image.includes('haproxy-entra-auth')) {
    const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')
    const stage = parseDockerfile(dockerfile).at(-1)
    if (!stage) throw new Error('no stage')
    const env: Readonly<Record<string, string>> = Object.fromEntries(
      textsOf(stage, 'ENV').flatMap((line) => line.split(/\s+/).map((pair) => pair.split('=', 2))),
    )
    return { command: [process.execPath, main], env, stopSignal: 'SIGTERM' as const }
  }
  // The image of HAProxy Technologies: the entry point adds both flags, and STOPSIGNAL is the soft stop.
  const { command, args } = await findHaproxy()
  return { command: [command, ...args, '-W', '-db'], env: {}, stopSignal: 'SIGUSR1' as const }
}
