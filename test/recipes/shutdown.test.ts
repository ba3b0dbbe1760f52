/**
 * The end of a pod, with real processes: HAProxy stops softly and the verifier beside it ends after it, as
 * a native sidecar does. A verifier that ends first, as a container of the old kind may, loses requests.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { it } from 'node:test'
import { parse } from 'yaml'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { environmentFor, startAuthority } from '../serve/authority.ts'
import { type Life, makeFolder, startService, untilReady } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { printedLines, recipeFile } from './recipe-files.ts'

/** The pod of HAProxy's chart: its lines, and the verifier. */
async function startPod(t: Life) {
  const authority = await startAuthority(t)
  const service = await startService(t, environmentFor(authority))
  await untilReady(service)
  const app = await startEchoApp()
  t.after(() => app.stop())
  const lines = await printedLines(
    parse(recipeFile('kubernetes/verifier-config.yaml')).data['config.yaml'],
  )
  const file = join(makeFolder(t), 'haproxy.cfg')
  writeFileSync(
    file,
    lines
      .replaceAll(/(lua\.entra-auth(?:-hit)?[ (])orders\b/g, '$1default')
      .replaceAll('127.0.0.1:3000', app.address)
      .replaceAll('127.0.0.1:14481', service.address)
      .replace(/^frontend www.*\n/m, (line) => `${line}    monitor-uri /haproxy-livez\n`),
  )
  const haproxy = await startHaproxy({
    verifier: service.address,
    application: app.address,
    configs: [file],
  })
  t.after(() => haproxy.stop())
  return { authority, service, haproxy }
}

/**
 * A connection with a whole request, and with the first lines of a second one in the same packet, so that
 * the second one is under way. Resolves with a function that ends it and returns its status.
 */
async function beginRequest(port: number) {
  let answers = ''
  const socket = connect(port, '127.0.0.1')
  const closed = new Promise<void>((done) => socket.once('close', () => done()))
  socket.setEncoding('utf8').on('data', (text) => {
    answers += text
  })
  socket.on('error', () => {})
  const head = 'GET / HTTP/1.1\r\nHost: orders.example\r\n'
  socket.write(`${head}\r\n${head}`)
  await eventually(
    () => answers,
    (text) => text.startsWith('HTTP/1.1 401'),
  )
  return async (token: string) => {
    answers = ''
    socket.write(`Authorization: Bearer ${token}\r\nConnection: close\r\n\r\n`)
    await closed
    return Number(/HTTP\/1\.1 (\d+)/.exec(answers)?.[1] ?? 0)
  }
}

function acceptsConnections(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      done(true)
    })
    socket.once('error', () => done(false))
  })
}

it('HAProxy ends what is under way with the verifier beside it, which ends after it', async (t) => {
  const { authority, service, haproxy } = await startPod(t)
  const finish = await beginRequest(haproxy.port)
  // The signal in HAProxy's images: no new connection, and what is under way ends.
  process.kill(haproxy.pid, 'SIGUSR1')
  await eventually(
    () => acceptsConnections(haproxy.port),
    (open) => !open,
  )
  // A token that no cache has: HAProxy asks the verifier.
  assert.equal(await finish(await authority.token('alice')), 200)
  await eventually(haproxy.isRunning, (running) => !running)
  service.kill('SIGTERM')
  assert.deepEqual(await service.exited, { code: 0, signal: null })
})

it('with the verifier ended first, the same request is refused', async (t) => {
  const { authority, service, haproxy } = await startPod(t)
  const finish = await beginRequest(haproxy.port)
  service.kill('SIGTERM')
  await service.exited
  process.kill(haproxy.pid, 'SIGUSR1')
  assert.equal(await finish(await authority.token('alice')), 503)
})
