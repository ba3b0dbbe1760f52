/** The shipped configuration as root, which drops its privileges, and as an ordinary user. */
import assert from 'node:assert/strict'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import {
  findHaproxy,
  type Haproxy,
  shippedConfig,
  shippedLua,
  startHaproxy,
} from '../../scripts/local-stack/haproxy.ts'
import { ask } from './client.ts'
import { type FakeVerifier, startFakeVerifier } from './fake-verifier.ts'

const isRoot = process.getuid?.() === 0
const privilegeLine = /^ {4}# ((?:user|group|chroot) )\S+$/gm

let folder: string
let verifier: FakeVerifier
let app: EchoApp
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entra-auth-privileges-'))
  // Readable by the ordinary user; the repository itself may not be.
  await chmod(folder, 0o755)
  await mkdir(join(folder, 'empty'))
  await copyFile(shippedLua, join(folder, 'entra-auth.lua'))
  await copyFile(shippedConfig, join(folder, 'haproxy.cfg'))
  verifier = await startFakeVerifier()
  app = await startEchoApp()
})
beforeEach(() => {
  app.requests.length = 0
})
after(async () => {
  await Promise.all([verifier.stop(), app.stop()])
  await rm(folder, { recursive: true })
})

/** Starts HAProxy through these words and returns its complaint, or what one request shows. */
async function startThrough(words: readonly string[], config: string) {
  const { command, args } = await findHaproxy()
  const [program = command, ...rest] = [...words, command, ...args]
  let haproxy: Haproxy
  try {
    haproxy = await startHaproxy({
      verifier: verifier.address,
      application: app.address,
      configs: [config],
      lua: join(folder, 'entra-auth.lua'),
      binary: { command: program, args: rest },
    })
  } catch (error) {
    return { complaint: (error as Error).message }
  }
  try {
    const { status } = await ask(haproxy.port)
    const owner = /^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${haproxy.pid}/status`, 'utf8'))?.[1]
    const warnings = haproxy.errorLines.filter((line) => /as root|chroot|privileges/.test(line))
    return { status, owner, warnings }
  } finally {
    await haproxy.stop()
  }
}

describe('the shipped configuration', () => {
  it('starts as an ordinary user as it is, without a warning', async () => {
    const user = ['--reuid=65534', '--regid=65534', '--clear-groups']
    // The folders above the repository may be root's alone.
    const reading = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']
    const asNobody = ['setpriv', ...user, ...reading]
    assert.deepEqual(await startThrough(isRoot ? asNobody : [], join(folder, 'haproxy.cfg')), {
      status: 200,
      owner: isRoot ? '65534' : String(process.getuid?.()),
      warnings: [],
    })
  })

  it('drops the privileges of root with its lines for that, without a warning', async () => {
    const text = await readFile(shippedConfig, 'utf8')
    assert.equal(text.match(privilegeLine)?.length, 3)
    const values = { user: 'nobody', group: 'nogroup', chroot: join(folder, 'empty') }
    const config = join(folder, 'root.cfg')
    await writeFile(
      config,
      text.replace(privilegeLine, (_, name: string) => {
        const key = name.trim() as keyof typeof values
        return `    ${name}${values[key]}`
      }),
    )
    const outcome = await startThrough([], config)
    // Nobody but root can do that, and HAProxy before 3.4 says so.
    if (isRoot) assert.deepEqual(outcome, { status: 200, owner: '65534', warnings: [] })
    else assert.ok('complaint' in outcome || outcome.owner === String(process.getuid?.()))
  })
})
