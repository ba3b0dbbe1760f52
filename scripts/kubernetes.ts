/**
 * Gets a control plane of Kubernetes into `.cache/kubernetes/`: etcd out of Debian's package, and
 * kube-apiserver and kubectl built from their Go module, once, which takes 7 to 30 minutes on two
 * processors.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Command, debianCommand } from './debian-packages.ts'

/** The version of Kubernetes that is built. */
export const kubernetesVersion = '1.35.4'

const home = resolve(import.meta.dirname, '../.cache/kubernetes')

/** Modules that live in the repository of Kubernetes and have version numbers of their own. */
const staging =
  'api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api cri-client cri-streaming csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission sample-apiserver sample-cli-plugin sample-controller'

/** The command that starts etcd. */
export function etcdCommand(): Promise<Command> {
  return debianCommand(
    {
      name: 'etcd-server',
      file: 'usr/bin/etcd',
      suite: 'bookworm',
      libraries: 'bookworm',
      versionArgument: '--version',
      version: 'etcd Version: 3.',
    },
    join(home, 'etcd'),
  )
}

/** A program in the module of Kubernetes. */
export type KubernetesProgram = 'kube-apiserver' | 'kubectl'

/** The path of a program; builds it at the first call. Throws where there is no Go. */
export function kubernetesPath(program: KubernetesProgram): string {
  const folder = join(home, kubernetesVersion)
  const path = join(folder, program)
  if (existsSync(path)) return path
  mkdirSync(folder, { recursive: true })
  const replaced = staging
    .split(' ')
    .map((name) => `replace k8s.io/${name} => k8s.io/${name} v0${kubernetesVersion.slice(1)}`)
  const lines = ['module kube', 'go 1.25.0', `require k8s.io/kubernetes v${kubernetesVersion}`]
  writeFileSync(join(folder, 'go.mod'), `${[...lines, ...replaced].join('\n')}\n`)
  const main = `k8s.io/kubernetes/cmd/${program}`
  writeFileSync(join(folder, 'tools.go'), `//go:build tools\npackage tools\nimport _ "${main}"\n`)
  process.stderr.write(`building ${program} ${kubernetesVersion}, which takes a while\n`)
  go(folder, ['mod', 'tidy', '-e'])
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(kubernetesVersion) ?? []
  const version = Object.entries({ Version: `v${kubernetesVersion}`, Major: major, Minor: minor })
    .map(([name, value]) => `-X k8s.io/component-base/version.git${name}=${value}`)
    .join(' ')
  go(folder, ['build', '-trimpath', '-ldflags', `-s -w ${version}`, '-o', `${path}.new`, main])
  renameSync(`${path}.new`, path)
  return path
}

function go(cwd: string, args: readonly string[]): void {
  const env = { ...process.env, CGO_ENABLED: '0' }
  const { status, error } = spawnSync('go', args, { cwd, env, stdio: ['ignore', 2, 2] })
  if (error) throw new Error(`Go is needed to build Kubernetes: ${error.message}`)
  if (status !== 0) throw new Error(`go ${args[0]} ended with ${status}`)
}
