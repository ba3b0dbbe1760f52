/**
 * `npm run release`: makes what a release needs, in `release/`. The npm package, the archive of the
 * chart, the context of the image, a bill of materials, the dashboards and alerts, the notes and checksums.
 * Nothing is published.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { findHelms } from './helm.ts'

const root = resolve(import.meta.dirname, '..')
const checksums = 'SHA256SUMS'

/** Makes the release in `folder`, which is emptied first. Throws where a part cannot be made. */
export function makeRelease(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const base = `${name}-${version}`
  packService(folder)
  packChart(join(folder, `${name}-chart-${version}.tgz`))
  packImageContext(join(folder, `${base}-image-context.tar.gz`))
  writeFileSync(join(folder, `${base}.cdx.json`), billOfMaterials(name))
  for (const file of ['alerts.yaml', 'dashboard.json']) {
    cpSync(join(root, 'monitoring', file), join(folder, `${base}-${file}`))
  }
  const notes = releaseNotes(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'), version)
  writeFileSync(join(folder, 'RELEASE_NOTES.md'), notes)
  writeFileSync(join(folder, checksums), sumsOf(folder))
}

/**
 * The npm package with its packages inside, in the versions of the lock file. A shrinkwrap alone is not
 * enough: npm looks at it only when the package comes from a registry.
 */
function packService(folder: string): void {
  const place = mkdtempSync(join(tmpdir(), 'release-'))
  try {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    run(root, 'npm', 'run', 'build')
    const inside: readonly string[] = manifest.files.filter((name: string) =>
      existsSync(join(root, name)),
    )
    for (const name of inside) cpSync(join(root, name), join(place, name), { recursive: true })
    for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
      cpSync(join(root, name), join(place, name))
    }
    run(place, 'npm', 'ci', '--omit=dev', '--ignore-scripts', '--prefer-offline')
    cpSync(join(place, 'package-lock.json'), join(place, 'npm-shrinkwrap.json'))
    const { scripts, devDependencies, ...rest } = manifest
    const packed = { ...rest, bundleDependencies: Object.keys(manifest.dependencies) }
    writeFileSync(join(place, 'package.json'), `${JSON.stringify(packed, undefined, 2)}\n`)
    run(place, 'npm', 'pack', '--ignore-scripts', '--pack-destination', folder)
  } finally {
    rmSync(place, { recursive: true })
  }
}

/**
 * The section of the changelog about this version, or the unreleased section if there is none yet.
 */
export function releaseNotes(changelog: string, version: string): string {
  const parts = changelog.split(/^(?=## )/m)
  const titled = (title: string) => parts.find((part) => part.startsWith(`## ${title}`))
  const part = titled(`[${version}]`) ?? titled(`${version}`) ?? titled('Unreleased')
  if (part === undefined) throw new Error(`CHANGELOG.md says nothing of ${version}`)
  return part.replace(/^## .*/, `# ${version}`)
}

/** Helm gives the archive the name of the npm package, so it is made elsewhere. */
function packChart(target: string): void {
  const helm = findHelms(process.env, `${process.platform}-${process.arch}`).at(-1)
  if (!helm) throw new Error('Helm is needed to pack the chart')
  const place = mkdtempSync(join(tmpdir(), 'release-'))
  try {
    run(root, helm.path, 'package', join(root, 'charts/haproxy-entra-auth'), '-d', place)
    for (const name of readdirSync(place)) cpSync(join(place, name), target)
  } finally {
    rmSync(place, { recursive: true })
  }
}

/** What `docker build` needs, as `.dockerignore` lets it through. The same files give the same bytes. */
function packImageContext(target: string): void {
  const allowed = readFileSync(join(root, '.dockerignore'), 'utf8').matchAll(/^!(.+)$/gm)
  const sources = ['Dockerfile', '.dockerignore', ...[...allowed].map(([, path = '']) => path)]
  const same = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner']
  const tar = `${target}.tar`
  run(root, 'tar', ...same, '--mode=u+rw,go+r-w', '-cf', tar, ...sources)
  const zipped = spawnSync('gzip', ['-n', '-9', '-c', tar], { maxBuffer: 1 << 28 })
  rmSync(tar)
  if (zipped.status !== 0) throw new Error(`gzip: ${zipped.stderr}`)
  writeFileSync(target, zipped.stdout)
}

/**
 * CycloneDX, the packages that are installed with this one. Packages for development are taken out first:
 * npm would leave out what both need.
 */
function billOfMaterials(name: string): string {
  const place = mkdtempSync(join(tmpdir(), 'release-'))
  try {
    const folder = join(place, name)
    mkdirSync(folder)
    cpSync(join(root, '.npmrc'), join(folder, '.npmrc'))
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
    delete manifest.devDependencies
    delete lock.packages[''].devDependencies
    for (const [path, { dev }] of Object.entries<{ dev?: boolean }>(lock.packages)) {
      if (dev) delete lock.packages[path]
    }
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
    writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock))
    return run(folder, 'npm', 'sbom', '--sbom-format', 'cyclonedx', '--package-lock-only')
  } finally {
    rmSync(place, { recursive: true })
  }
}

/** Lines for `sha256sum -c`. */
function sumsOf(folder: string): string {
  return readdirSync(folder)
    .toSorted()
    .map((name) => {
      const hash = createHash('sha256').update(readFileSync(join(folder, name)))
      return `${hash.digest('hex')}  ${name}\n`
    })
    .join('')
}

function run(cwd: string, file: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(file, args, { cwd, encoding: 'utf8' })
  if (status !== 0) {
    throw new Error(`${file} ${args.join(' ')}\n${error?.message ?? `${stdout}${stderr}`}`)
  }
  return stdout
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { folder: { type: 'string' } } })
  const folder = resolve(values.folder ?? join(root, 'release'))
  makeRelease(folder)
  for (const name of readdirSync(folder).toSorted()) {
    const kib = Math.ceil(statSync(join(folder, name)).size / 1024)
    process.stdout.write(`${String(kib).padStart(6)} KiB  ${name}\n`)
  }
}
