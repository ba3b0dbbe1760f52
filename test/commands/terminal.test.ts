/** What commands print: as wide as the terminal, coloured only for a person. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { formatReport } from '../../src/check/format.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import { runProgram } from '../../src/commands/program.ts'
import { formatReport as formatDrift } from '../../src/drift/report.ts'
import { plainPage, screenOf, wrap, wrapPage } from '../../src/terminal.ts'
import { makeFolder } from '../serve/process.ts'

const main = resolve(import.meta.dirname, '../../src/main.ts')
const esc = '\u001b'
const painted = (stream: { isTTY?: boolean }, env: Readonly<Record<string, string>>) =>
  screenOf(stream, env).paint('bad', 'x') !== 'x'

describe('the colours', () => {
  it('are on a terminal only, never with NO_COLOR, and elsewhere with FORCE_COLOR', () => {
    const terminal = { isTTY: true }
    for (const [stream, env, expected] of [
      [terminal, {}, true],
      [{}, {}, false],
      [terminal, { NO_COLOR: '1' }, false],
      [terminal, { NO_COLOR: '' }, true],
      [terminal, { TERM: 'dumb' }, false],
      [{}, { FORCE_COLOR: '1' }, true],
      [terminal, { FORCE_COLOR: '0' }, false],
      [{}, { FORCE_COLOR: '1', NO_COLOR: '1' }, false],
      [terminal, { FORCE_COLOR: '3', NO_COLOR: '1' }, false],
    ] as const) {
      assert.equal(painted(stream, env), expected, JSON.stringify([stream, env]))
    }
  })

  it('change no letter of a report, and none is in JSON', (t) => {
    const folder = makeFolder(t)
    const config = join(folder, 'config.yaml')
    writeFileSync(
      config,
      `
listen: { host: 0.0.0.0 }
tenants: { contoso: 11111111-1111-4111-8111-111111111111 }
policies: { orders: { audiences: [api://orders], allow: [{ actor: user, scopes: [Orders.Read] }] } }
`,
    )
    writeFileSync(join(folder, 'claims.json'), '{ "scp": "Other" }')
    writeFileSync(
      join(folder, 'cases.yaml'),
      'cases: [{ name: x, policy: orders, claims: { scp: Other }, expect: allow }]',
    )
    writeFileSync(join(folder, 'haproxy.cfg'), 'backend b\n  server s 127.0.0.1:1\n')
    const run = (args: readonly string[], env: Readonly<Record<string, string>>) =>
      spawnSync(process.execPath, [main, ...args, '--config', config], {
        cwd: folder,
        encoding: 'utf8',
        env,
      }).stdout
    for (const args of [
      ['check', '--offline'],
      ['policies'],
      ['explain', '--policy', 'orders', '--claims', 'claims.json'],
      ['test', 'cases.yaml'],
      ['drift', '--haproxy', 'haproxy.cfg'],
    ]) {
      const coloured = run(args, { FORCE_COLOR: '1' })
      const plain = run(args, { FORCE_COLOR: '1', NO_COLOR: '1' })
      assert.ok(coloured.includes(`${esc}[`), args[0])
      assert.ok(plain.length > 20 && !plain.includes(esc), args[0])
      // The time of the clock differs between two runs.
      const timeless = (text: string) => text.replaceAll(/\d+ (s|min) ago|\d{4}-\S+Z|\d{10}/g, 'T')
      assert.equal(timeless(stripVTControlCharacters(coloured)), timeless(plain), args[0])
      assert.doesNotThrow(() => JSON.parse(run([...args, '--json'], { FORCE_COLOR: '1' })))
    }
  })
})

describe('the width', () => {
  const narrow = screenOf({ isTTY: true, columns: 50 }, { NO_COLOR: '1' })

  it('is that of the terminal, from 40 to 100 columns, and 100 where nobody looks', () => {
    for (const [stream, expected] of [
      [{ isTTY: true, columns: 72 }, 72],
      [{ isTTY: true, columns: 300 }, 100],
      [{ isTTY: true, columns: 8 }, 40],
      [{ isTTY: true }, 100],
      [{ columns: 60 }, 100],
    ] as const) {
      assert.equal(screenOf(stream, {}).columns, expected)
    }
  })

  it('is kept by reports', () => {
    const finding = {
      level: 'warning',
      path: 'listen',
      message: 'answers without TLS, so that whoever is on the way can forge an allow',
      hint: 'Run the service on the host of HAProxy and let it listen on 127.0.0.1 there.',
    } as const
    const check = formatReport(
      { verdict: 'ok', policies: 1, tenants: [], findings: [finding] },
      narrow,
    )
    const drift = formatDrift(
      {
        findings: [
          {
            severity: 'error',
            code: 'strict-mode-off',
            place: { policy: 'orders' },
            message: finding.message,
            hint: finding.hint,
          },
        ],
        ignored: 0,
      },
      narrow,
    )
    assert.match(
      check.replaceAll(/\s+/g, ' '),
      / ok: 0 problems, .*; policies: 1, no authority asked $/,
    )
    for (const line of [...check.split('\n'), ...drift.split('\n')]) {
      assert.ok(line.length <= 50, line)
    }
    assert.deepEqual(
      wrap('label', 'one two three', 0, 8, { screen: { ...plainPage, columns: 24 } }),
      ['label   one two three'],
    )
  })

  it('is kept by the help of each command and by the list of personas', async () => {
    const show = async (args: readonly string[]) => {
      let shown = ''
      const stdout = {
        isTTY: true,
        columns: 60,
        write(text: string) {
          shown += text
        },
      }
      const exit = () => {
        throw new Error('exit')
      }
      const io = { stdout, stderr: stdout, env: { NO_COLOR: '1' }, exit } as unknown as CommandIo
      await runProgram('0', io, args).catch(() => {})
      return shown.split('\n')
    }
    for (const args of [['--help'], ['revocations', '--help'], ['dev-entra', 'personas']]) {
      const lines = await show(args)
      assert.ok(lines.length > 8)
      // An example is there to be copied.
      const long = lines.filter((line) => line.length > 60 && !/^ {2}ENTRA_AUTH/.test(line))
      assert.deepEqual(long, [], args.join(' '))
    }
  })

  it('is kept by the help, whose examples stay as they are', () => {
    const text =
      'Exit codes: 0 done, 1 failed,\n64 wrong use\n\n  example --with a long line of its own\n'
    assert.equal(
      wrapPage(text, 30),
      'Exit codes: 0 done, 1 failed,\n64 wrong use\n\n  example --with a long line of its own\n',
    )
    assert.equal(wrapPage('one two\nthree', 40), 'one two three')
  })

  it('breaks no label off, and lets no control character through', () => {
    const [line = ''] = wrap('x', `a${esc}[31mb`, 2, 4, { screen: narrow, style: 'bad' })
    assert.equal(line, '  x   a\\u{1b}[31mb')
  })
})
