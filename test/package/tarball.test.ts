/**
 * What `npm run release` makes: looked into, and its npm package installed into an empty directory and
 * started with two variables.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { makeRelease, releaseNotes } from '../../scripts/release.ts'
import { environmentFor, startAuthority } from '../serve/authority.ts'
import { makeFolder } from '../serve/process.ts'
import { startInstalled } from './installed.ts'

const root = resolve(import.meta.dirname, '../..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

const cleanUps: (() => unknown)[] = []
const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
let release: string
let place: string

function npm(cwd: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('npm', args, { cwd, encoding: 'utf8' })
  assert.equal(status, 0, `npm ${args.join(' ')}\n${stdout}${stderr}`)
  return stdout
}

before(() => {
  const folder = makeFolder(life)
  release = join(folder, 'release')
  makeRelease(release)
  place = join(folder, 'empty')
  mkdirSync(place)
  const tarball = join(release, `${manifest.name}-${manifest.version}.tgz`)
  npm(place, 'install', '--offline', '--no-audit', '--no-fund', tarball)
})
after(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

describe('the folder of a release', () => {
  const base = `${manifest.name}-${manifest.version}`
  const listOf = (archive: string) =>
    spawnSync('tar', ['tzf', join(release, archive)], { encoding: 'utf8' })
      .stdout.trim()
      .split('\n')

  it('has the package, the chart, the context of the image, a bill of materials, alerts and dashboard, notes and checksums', () => {
    assert.deepEqual(readdirSync(release).toSorted(), [
      'RELEASE_NOTES.md',
      'SHA256SUMS',
      `${base}-alerts.yaml`,
      `${base}-dashboard.json`,
      `${base}-image-context.tar.gz`,
      `${base}.cdx.json`,
      `${base}.tgz`,
      `${manifest.name}-chart-${manifest.version}.tgz`,
    ])
  })

  it('has a right checksum for each file', () => {
    const lines = readFileSync(join(release, 'SHA256SUMS'), 'utf8').trim().split('\n')
    const expected = readdirSync(release)
      .filter((name) => name !== 'SHA256SUMS')
      .toSorted()
      .map((name) => {
        const hash = createHash('sha256').update(readFileSync(join(release, name)))
        return `${hash.digest('hex')}  ${name}`
      })
    assert.deepEqual(lines, expected)
  })

  it('has the chart with the version of the service, and a context with what the Dockerfile copies', () => {
    const chart = listOf(`${manifest.name}-chart-${manifest.version}.tgz`)
    assert.ok(chart.includes(`${manifest.name}/Chart.yaml`))
    assert.match(
      readFileSync(join(root, 'charts', manifest.name, 'Chart.yaml'), 'utf8'),
      new RegExp(`^appVersion: ${manifest.version}$`, 'm'),
    )
    const context = listOf(`${base}-image-context.tar.gz`)
    for (const path of ['Dockerfile', '.dockerignore', 'package-lock.json', 'src/main.ts']) {
      assert.ok(context.includes(path), path)
    }
    assert.ok(!context.some((path) => /^(test|node_modules|\.git)\b/.test(path)))
  })

  it('has a bill of materials with the packages that are installed, each with a hash', () => {
    const sbom = JSON.parse(readFileSync(join(release, `${base}.cdx.json`), 'utf8'))
    assert.equal(sbom.bomFormat, 'CycloneDX')
    assert.equal(sbom.metadata.component.name, manifest.name)
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
    const expected = Object.entries<{ dev?: boolean; version: string }>(packages)
      .filter(([path, { dev }]) => path !== '' && !dev)
      .map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`)
    const listed = sbom.components.map(
      ({ name, version }: { name: string; version: string }) => `${name}@${version}`,
    )
    assert.deepEqual([...new Set(listed)].toSorted(), [...new Set(expected)].toSorted())
    for (const { hashes, name } of sbom.components) assert.equal(hashes?.[0]?.alg, 'SHA-512', name)
  })

  it('has the notes of its version', () => {
    const changelog =
      '# Changelog\n\n## Unreleased\n\n- new\n\n## 0.2.0\n\n- two\n\n## 0.1.0\n\n- one\n'
    assert.equal(releaseNotes(changelog, '0.2.0'), '# 0.2.0\n\n- two\n\n')
    assert.equal(releaseNotes(changelog, '0.3.0'), '# 0.3.0\n\n- new\n\n')
    assert.throws(() => releaseNotes('# Changelog\n', '0.3.0'), /says nothing of 0\.3\.0/)
    assert.ok(readFileSync(join(release, 'RELEASE_NOTES.md'), 'utf8').length > 100)
  })
})

describe('the packed tarball, installed into an empty directory', () => {
  it('brings the service, the action, its configuration and the pages, and no tests or sources', () => {
    const installed = join(place, 'node_modules', manifest.name)
    const folders: readonly string[] = manifest.files.map((name: string) => name.split('/')[0])
    assert.deepEqual(
      readdirSync(installed).toSorted(),
      [...new Set([...folders, 'node_modules', 'package.json'])].toSorted(),
    )
    for (const file of ['entra-auth.lua', 'haproxy.cfg']) {
      assert.deepEqual(
        readFileSync(join(installed, 'haproxy-lua', file)),
        readFileSync(join(root, 'haproxy-lua', file)),
      )
    }
  })

  it('has exactly the packages of the lock file, in its versions, without a registry', () => {
    const installed = join(place, 'node_modules', manifest.name)
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
    const expected = Object.entries<{ dev?: boolean; version: string }>(packages)
      .filter(([path, { dev }]) => path !== '' && !dev)
      .map(([path, { version }]) => `${path} ${version}`)
    const found = readdirSync(installed, { recursive: true, encoding: 'utf8' })
      .filter((path) => /(^|\/)node_modules\/(@[^/]+\/)?[^/@]+\/package\.json$/.test(path))
      .map((path) => {
        const { version } = JSON.parse(readFileSync(join(installed, path), 'utf8'))
        return `${dirname(path)} ${version}`
      })
    assert.ok(found.length > 50)
    assert.deepEqual(found.toSorted(), expected.toSorted())
    assert.deepEqual(
      readdirSync(join(place, 'node_modules')).filter((name) => !name.startsWith('.')),
      [manifest.name],
    )
  })

  it('has pages whose links lead to files inside it', () => {
    const installed = join(place, 'node_modules', manifest.name)
    const pages = readdirSync(installed, { recursive: true, encoding: 'utf8' }).filter(
      (path) => path.endsWith('.md') && !path.includes('node_modules/'),
    )
    assert.ok(pages.length > 30)
    const dead = pages.flatMap((page) =>
      [...readFileSync(join(installed, page), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)]
        .map(([, link = '']) => link.split('#')[0] ?? '')
        .filter((link) => link !== '' && !/^(https?|mailto):/.test(link))
        .filter((link) => !existsSync(resolve(installed, dirname(page), link)))
        .map((link) => `${page}: ${link}`),
    )
    assert.deepEqual(dead, [])
  })

  it('tells its version', () => {
    const { stdout } = spawnSync('npx', ['haproxy-entra-auth', '--version'], {
      cwd: place,
      encoding: 'utf8',
    })
    assert.equal(stdout, `${manifest.version}\n`)
  })

  it('serves by npx with two variables, and verifies a token', async (t) => {
    const authority = await startAuthority(t)
    const service = await startInstalled(t, {
      command: ['npx', '--offline', 'haproxy-entra-auth', 'serve'],
      cwd: place,
      env: environmentFor(authority),
    })
    await service.untilReady()
    const reply = await fetch(`${service.origin}/verify`, {
      headers: { authorization: `Bearer ${await authority.token('alice')}` },
    })
    assert.equal(reply.status, 200)
    assert.equal(
      reply.headers.get('x-auth-request-tenant'),
      environmentFor(authority).ENTRA_AUTH_TENANT_ID,
    )
    service.kill('SIGTERM')
    await service.exited
    assert.equal(service.stderr, '')
  })

  it('is ready within one second of its start, the waits for a busy processor left out', async (t) => {
    const authority = await startAuthority(t)
    const command = [join(place, 'node_modules/.bin/haproxy-entra-auth'), 'serve']
    const timesMs: number[] = []
    while (timesMs.length < 5 && !timesMs.some((ms) => ms < 1_000)) {
      const env = environmentFor(authority)
      // The stand-in for Entra runs in this process, so its waits count as well.
      const ownWaitMs = waitForProcessorMs(process.pid)
      const service = await startInstalled(t, { command, cwd: place, env })
      const readyMs = await service.untilReady()
      const waits = waitForProcessorMs(service.pid) + waitForProcessorMs(process.pid) - ownWaitMs
      timesMs.push((readyMs - waits) / slowness())
      service.kill('SIGKILL')
      await service.exited
    }
    assert.ok(Math.min(...timesMs) < 1_000, `ready after ${timesMs.map(Math.round)} ms`)
  })
})

/**
 * How many times as long as on an unhurried machine Node itself takes to start here and now, at least 1:
 * a processor that others share is slower without a wait that Linux could count.
 */
function slowness(): number {
  const start = performance.now()
  assert.equal(spawnSync(process.execPath, ['--eval', '0']).status, 0)
  return Math.max(1, (performance.now() - start) / 60)
}

/** How long the main thread of a process was ready to run and did not, as Linux counts it; else 0. */
function waitForProcessorMs(pid: number): number {
  try {
    const [, waitedNs] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')
    return Number(waitedNs) / 1e6
  } catch {
    return 0
  }
}
