/** What `npm pack` makes, installed into an empty directory and started with two variables. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { environmentFor, startAuthority } from '../serve/authority.ts'
import { makeFolder } from '../serve/process.ts'
import { startInstalled } from './installed.ts'

const root = resolve(import.meta.dirname, '../..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

const cleanUps: (() => unknown)[] = []
const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
let place: string

function npm(cwd: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('npm', args, { cwd, encoding: 'utf8' })
  assert.equal(status, 0, `npm ${args.join(' ')}\n${stdout}${stderr}`)
  return stdout
}

before(() => {
  const folder = makeFolder(life)
  npm(root, 'pack', '--pack-destination', folder)
  const [tarball = ''] = readdirSync(folder)
  place = join(folder, 'empty')
  mkdirSync(place)
  npm(place, 'install', '--prefer-offline', '--no-audit', '--no-fund', join(folder, tarball))
})
after(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

describe('the packed tarball, installed into an empty directory', () => {
  it('brings the service, the action and its configuration, and no tests or sources', () => {
    const installed = join(place, 'node_modules', manifest.name)
    assert.deepEqual(readdirSync(installed).toSorted(), [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'dist',
      'haproxy-lua',
      'package.json',
      'recipes',
    ])
    for (const file of ['entra-auth.lua', 'haproxy.cfg']) {
      assert.deepEqual(
        readFileSync(join(installed, 'haproxy-lua', file)),
        readFileSync(join(root, 'haproxy-lua', file)),
      )
    }
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
      timesMs.push(readyMs - waits)
      service.kill('SIGKILL')
      await service.exited
    }
    assert.ok(Math.min(...timesMs) < 1_000, `ready after ${timesMs.map(Math.round)} ms`)
  })
})

/** How long the main thread of a process was ready to run and did not, as Linux counts it; else 0. */
function waitForProcessorMs(pid: number): number {
  try {
    const [, waitedNs] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')
    return Number(waitedNs) / 1e6
  } catch {
    return 0
  }
}
