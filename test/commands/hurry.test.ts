/** Commands in a hurry: output that nobody takes, no input, a signal at any moment, odd terminals. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { makeFolder } from '../serve/process.ts'

const main = resolve(import.meta.dirname, '../../src/main.ts')
const tenant = '11111111-1111-4111-8111-111111111111'
const user = `${tenant}/a1111111-1111-4111-8111-111111111111`
const cleanups: (() => void)[] = []
const folder = makeFolder({ after: (end: () => void) => void cleanups.push(end) })
after(() => {
  for (const end of cleanups) end()
})

/** Answers to nothing, so that whoever asks it waits. */
let silent: Server
let silentUrl = ''
/** Tells whoever waits for it that somebody has asked. */
let asked: () => Promise<unknown>

before(async () => {
  silent = createServer()
  asked = () => once(silent, 'request')
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  silentUrl = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
  const file = (name: string, text: string) => writeFileSync(join(folder, name), text)
  file(
    'config.yaml',
    `
tenants: { contoso: { id: ${tenant}, authority: "${silentUrl}" } }
policies: { orders: { audiences: [api://orders], allow: [{ actor: user, scopes: [Orders.Read] }] } }
`,
  )
  file('claims.json', '{ "scp": "Other" }')
  file('haproxy.cfg', 'backend b\n  server s 127.0.0.1:1\n')
})
after(() => {
  silent.closeAllConnections()
  silent.close()
})

const config = ['--config', 'config.yaml']
/** Each command that ends by itself, and its exit code where its output is taken. */
const commands: readonly (readonly [string, readonly string[], number])[] = [
  ['explain', ['explain', '--policy', 'orders', '--claims', 'claims.json', ...config], 1],
  ['drift', ['drift', '--haproxy', 'haproxy.cfg', ...config], 1],
  ['haproxy-config', ['haproxy-config', ...config], 0],
  ['schema', ['schema'], 0],
]

type Output = 'pipe' | 'ignore' | number

interface Run {
  readonly stdio?: readonly ['ignore' | 'pipe', Output, Output]
  readonly env?: Readonly<Record<string, string>>
  /** What happens to the process while it runs. */
  readonly during?: (child: ReturnType<typeof spawn>) => unknown
}

/** Runs the program to its end. */
async function run(args: readonly string[], { stdio, env, during }: Run = {}) {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: [...(stdio ?? (['ignore', 'pipe', 'pipe'] as const))],
  })
  let [stdout, stderr] = ['', '']
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const ended = once(child, 'close')
  await during?.(child)
  const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null]
  return { code, signal, stdout, stderr }
}

/** Sentences on lines of their own, and nothing that only a programmer reads. */
function assertPlain(text: string): void {
  assert.doesNotMatch(text, /\n\s+at |node:internal|Node\.js v\d|Unhandled|TypeError/)
  for (const line of text.split('\n')) assert.ok(line.length < 400, line)
}

describe('a full disk under standard output', () => {
  const full = openSync('/dev/full', 'w')
  after(() => closeSync(full))

  for (const [name, args, usual] of commands) {
    it(`is an error of ${name}, in one line`, async () => {
      const { code, stderr } = await run(args, { stdio: ['ignore', full, 'pipe'] })
      assert.equal(code, usual || 1)
      assertPlain(stderr)
      assert.match(stderr, /^error: standard output cannot be written \(ENOSPC\)$/m)
    })
  }

  it('is an error of dev-entra, which nobody could find without its first lines', async () => {
    const { code, stderr } = await run(['dev-entra', 'serve', '--port', '0'], {
      stdio: ['ignore', full, 'pipe'],
    })
    assert.equal(code, 1)
    assert.equal(stderr, 'error: standard output cannot be written (ENOSPC)\n')
  })

  it('under standard error changes no exit code', async () => {
    const { code } = await run(['revocations', 'list', '--admin-url', 'http://127.0.0.1:1'], {
      stdio: ['ignore', full, full],
    })
    assert.equal(code, 69)
    const wrong = await run(['chekc'], { stdio: ['ignore', 'pipe', full] })
    assert.equal(wrong.code, 64)
  })
})

describe('a reader that has gone', () => {
  for (const [name, args, usual] of commands.filter(([name]) => /drift|schema/.test(name))) {
    it(`leaves ${name} its exit code and no word`, async () => {
      const { code, stderr } = await run(args, {
        during: (child) => child.stdout?.destroy(),
      })
      assert.equal(code, usual)
      assertPlain(stderr)
      assert.doesNotMatch(stderr, /^error:/m)
    })
  }
})

describe('a signal', () => {
  /** Commands that wait for somebody, and how to know that they do. */
  const waiting: readonly (readonly [string, readonly string[], 'authority' | 'start'])[] = [
    ['check', ['check', ...config], 'authority'],
    ['explain', ['explain', '--policy', 'orders', ...config], 'start'],
    ['init', ['init', '--config', 'new.yaml'], 'start'],
  ]
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    for (const [name, args, sign] of waiting.filter(
      ([, , sign]) => sign === 'start' || signal === 'SIGINT',
    )) {
      it(`${signal} ends ${name} at once, by this signal and without a word`, async () => {
        const result = await run(args, {
          stdio: ['pipe', 'pipe', 'pipe'],
          async during(child) {
            if (sign === 'authority') await asked()
            child.kill(signal)
          },
        })
        assert.equal(result.signal, signal)
        assertPlain(result.stderr)
        assert.doesNotMatch(result.stderr, /^error:/m)
      })
    }

    it(`${signal} ends revocations while the service does not answer`, async () => {
      const args = ['revocations', 'add', 'user', user, '--admin-url', silentUrl]
      const result = await run(args, {
        async during(child) {
          await asked()
          child.kill(signal)
        },
      })
      assert.deepEqual([result.signal, result.stdout, result.stderr], [signal, '', ''])
    })
  }
})

describe('no input', () => {
  it('is an error of explain and init, in one line with exit code 64', async () => {
    for (const args of [
      ['explain', '--policy', 'orders', ...config],
      ['init', '--config', 'new.yaml'],
    ]) {
      const { code, stdout, stderr } = await run(args)
      assert.deepEqual([code, stdout], [64, ''])
      assert.match(stderr, /^error: .+\n$/)
    }
  })
})

describe('wrong words', () => {
  it('get one sentence on standard error and exit code 64', async () => {
    for (const args of [
      ['test', 'missing.yaml', ...config],
      ['revocations', 'list', '--admin-url', 'nowhere'],
      ['revocations', 'add', 'user', user, '--until', 'tomorrow'],
    ]) {
      const { code, stdout, stderr } = await run(args)
      assert.deepEqual([code, stdout], [64, ''], `${args.join(' ')}: ${stderr}`)
      assert.match(stderr, /^error: [^\n]+\n$/, args.join(' '))
    }
  })

  it('of a server that is no admin listener get one sentence, too', async (t) => {
    const answers: Readonly<Record<string, string>> = {
      GET: '<html>hello</html>',
      POST: '[]]',
    }
    const server = createServer(({ method = '' }, reply) => reply.end(answers[method] ?? '"x"'))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    for (const args of [['list'], ['add', 'user', user], ['remove', 'user', user]]) {
      const { code, stdout, stderr } = await run(['revocations', ...args, '--admin-url', url])
      assert.deepEqual([code, stdout], [1, ''], args[0])
      assert.match(stderr, /^error: [^\n]+\n$/, args[0])
      assertPlain(stderr)
    }
  })
})

describe('init', () => {
  const answers = ['--tenant', tenant, '--audience', 'api://orders', '--who', 'both']

  it('takes a device or a link for something that exists', async () => {
    const { code, stderr } = await run(['init', '--config', '/dev/full', ...answers])
    assert.equal(code, 1)
    assert.match(stderr, /^error: \/dev\/full exists and stays as it is/)
  })

  it('has written the file when only its words are lost', async (t) => {
    const full = openSync('/dev/full', 'w')
    t.after(() => closeSync(full))
    t.after(() => rmSync(join(folder, 'written.yaml'), { force: true }))
    const { code, stderr } = await run(['init', '--config', 'written.yaml', ...answers], {
      stdio: ['ignore', full, 'pipe'],
    })
    assert.equal(code, 1)
    assert.match(stderr, /^error: standard output cannot be written/)
    assert.match(readFileSync(join(folder, 'written.yaml'), 'utf8'), /api:\/\/orders/)
  })
})

describe('a terminal', () => {
  /** Runs the program on a terminal of its own, as wide as asked; what it shows comes back. */
  async function show(columns: number, args: readonly string[], env = {}) {
    const words = [process.execPath, '--disable-warning=ExperimentalWarning', main, ...args]
    const line = `stty cols ${columns} rows 24; exec ${words.map((word) => `'${word}'`).join(' ')}`
    const child = spawn('script', ['-qec', line, '/dev/null'], {
      cwd: folder,
      env: { PATH: process.env.PATH ?? '', TERM: 'xterm', SHELL: '/bin/sh', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let shown = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      shown += text
    })
    const [code] = await once(child, 'close')
    return { code, lines: shown.replaceAll('\r', '').trimEnd().split('\n') }
  }
  const args = ['explain', '--policy', 'orders', '--claims', 'claims.json', ...config]
  const esc = '\u001b'

  it('that is narrow gets lines that fit, in colours', async () => {
    const { code, lines } = await show(60, args)
    assert.equal(code, 1)
    assert.ok(lines.some((line) => line.includes(esc)))
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are what is left out
    const plain = lines.map((line) => line.replaceAll(/\u001b\[\d+m/g, ''))
    // A word stays whole, to be copied.
    const long = plain.filter((line) => line.length > 60 && / \S+ +\S/.test(` ${line.trim()}`))
    assert.deepEqual(long, [])
  })

  it('with NO_COLOR gets the same without colours', async () => {
    const { code, lines } = await show(60, args, { NO_COLOR: '1' })
    assert.equal(code, 1)
    assert.ok(lines.length > 10 && lines.every((line) => !line.includes(esc)))
  })
})
