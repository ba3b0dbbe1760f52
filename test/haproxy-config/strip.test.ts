import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { findHaproxy } from '../../scripts/local-stack/haproxy.ts'
import type { IdentityHeaderSet } from '../../src/config/config.ts'
import { managedHeaders, spellingsOf, stripLines } from '../../src/haproxy/strip.ts'
import { eventually } from '../support/eventually.ts'

const sets: readonly IdentityHeaderSet[] = [
  'x-auth-request',
  'remote-user',
  'app-service',
  { 'X-User': 'oid', "X-It's.$Odd|Name": 'tid', Plain: 'name' },
  { 'X-User': 'oid', Plain: 'name' },
]
const innocent = [
  'X-Request-Id',
  'Authorization',
  'Accept',
  'X-Auth',
  'X-Userx',
  'Remoteuser',
  'X-MS-Other',
]

// A real HAProxy strips and sends back the names that are left, one port for each set.
describe('the lines that strip identity headers, in HAProxy', () => {
  let ports: readonly number[]
  let stop = async () => {}

  before(async () => {
    ports = await freePorts(sets.length + 1)
    const frontends = sets.map((set, index) => [
      `frontend f${index}`,
      `    bind 127.0.0.1:${ports[index]}`,
      ...stripLines(set).map((line) => `    ${line}`),
      '    default_backend echo',
    ])
    const echo = [
      'backend echo',
      `    server echo 127.0.0.1:${ports[sets.length]}`,
      'frontend echoing',
      `    bind 127.0.0.1:${ports[sets.length]}`,
      '    http-request return status 200 content-type text/plain lf-string "%[req.hdr_names]"',
    ]
    const text = [
      'global',
      '    zero-warning',
      'defaults',
      '    mode http',
      '    timeout client 5s',
      '    timeout connect 5s',
      '    timeout server 5s',
      ...frontends.flat(),
      ...echo,
      '',
    ]
    const folder = mkdtempSync(join(tmpdir(), 'haproxy-strip-'))
    const file = join(folder, 'haproxy.cfg')
    writeFileSync(file, text.join('\n'))
    const { command, args } = await findHaproxy()
    const child = spawn(command, [...args, '-db', '-f', file], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const ended = new Promise<void>((done) => {
      child.once('error', () => done()).once('close', () => done())
    })
    stop = async () => {
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true })
    }
    const answers = () =>
      ask(ports[0] ?? 0, []).then(
        () => true,
        () => false,
      )
    await eventually(answers, (isThere) => isThere)
  })
  after(() => stop())

  for (const [index, set] of sets.entries()) {
    it(`leave no spelling of a managed header: ${JSON.stringify(set)}`, async () => {
      for (const name of managedHeaders(set)) {
        const spellings = [...spellingsOf(name), name, name.toUpperCase()]
        assert.deepEqual(await ask(ports[index] ?? 0, spellings), [], name)
      }
    })

    it(`leave other headers alone: ${JSON.stringify(set)}`, async () => {
      assert.deepEqual(
        await ask(ports[index] ?? 0, innocent),
        innocent.map((name) => name.toLowerCase()),
      )
    })
  }
})

/** The header names, without Host, that are left of a request. */
function ask(port: number, names: readonly string[]): Promise<string[]> {
  return new Promise((done, fail) => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.setEncoding('latin1')
    socket.on('error', fail)
    socket.on('data', (data) => {
      text += data
    })
    socket.on('end', () => {
      const [head = '', body = ''] = text.split('\r\n\r\n')
      if (!head.startsWith('HTTP/1.1 200')) return fail(new Error(text))
      done(body.split(',').filter((name) => !['host', 'connection', ''].includes(name)))
    })
    const lines = names.map((name) => `${name}: eve\r\n`).join('')
    socket.write(`GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines}\r\n`)
  })
}
