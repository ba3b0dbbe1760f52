/** Renders the chart with the Helm binaries of this machine. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import { findHelms, type Helm } from '../../scripts/helm.ts'

/** Helm 3 and Helm 4. */
export const helms = findHelms(process.env, `${process.platform}-${process.arch}`)

/** A values file in `ci/`: a way to use the chart that is supported. */
export interface Shape {
  readonly name: string
  readonly file: string
}

/** Every supported shape. */
export const shapes: readonly Shape[] = readdirSync(join(chartFolder, 'ci')).map((file) => ({
  name: file.replace(/-values\.yaml$/, ''),
  file: join(chartFolder, 'ci', file),
}))

/** Values with the one that has no default: the image. They come before others, which may change it. */
export const imageValues: readonly string[] = [
  '--values',
  join(import.meta.dirname, 'image-values.yaml'),
]

/** What a run of Helm printed. */
export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs Helm, with text on its standard input. */
export function runHelm(helm: Helm, args: readonly string[], input = ''): Outcome {
  const { status, stdout, stderr, error } = spawnSync(helm.path, args, { encoding: 'utf8', input })
  if (error) throw error
  return { code: status, stdout, stderr }
}

/** Renders the chart with values that are given as text; the release is `verifier` in `entra`. */
export function template(helm: Helm, values: string, more: readonly string[] = []): Outcome {
  const args = ['template', 'edge', chartFolder, '--namespace', 'entra']
  return runHelm(helm, [...args, ...imageValues, '--values', '-', ...more], values)
}

/** An object of Kubernetes. */
export interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
  readonly data?: Readonly<Record<string, string>>
  // biome-ignore lint/suspicious/noExplicitAny: a type for each kind would repeat the Kubernetes schemas that the objects are checked against.
  readonly spec?: any
}

/** The objects in what Helm printed, by kind and name. */
export function parseManifests(text: string): readonly Manifest[] {
  // Kubernetes reads YAML 1.1, where 0440 is octal.
  const documents = parseAllDocuments(text, { version: '1.1' })
  const objects: unknown[] = []
  for (const document of documents) {
    if ('errors' in document && document.errors[0]) throw document.errors[0]
    if ('toJS' in document && document.contents !== null) objects.push(document.toJS())
  }
  const key = ({ kind, metadata }: Manifest) => `${kind} ${metadata.name}`
  return (objects as Manifest[]).toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
}

/** The objects of a shape; throws with Helm's words where it does not render. */
export function renderShape(helm: Helm, shape: Shape, more: readonly string[] = []) {
  const { code, stdout, stderr } = template(helm, readFileSync(shape.file, 'utf8'), more)
  if (code !== 0) throw new Error(`${shape.name}: ${stderr}`)
  return parseManifests(stdout)
}

/** The only object of this kind; throws where there is none or another one. */
export function only(manifests: readonly Manifest[], kind: string, name?: string): Manifest {
  const found = manifests.filter((m) => m.kind === kind && (!name || m.metadata.name === name))
  const [first] = found
  if (!first || found.length > 1) throw new Error(`${found.length} objects of kind ${kind}`)
  return first
}
