/** Words, options and variables that are nearly right, at every command. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { CommandIo } from '../../src/commands/io.ts'
import { runProgram } from '../../src/commands/program.ts'

class Exit extends Error {
  readonly code: number
  constructor(code: number) {
    super(`exit ${code}`)
    this.code = code
  }
}

/** Runs the program in this process, without files and without a network. */
async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  let [stdout, stderr, code] = ['', '', 0]
  const unused = () => {
    throw new Error('not for this command')
  }
  const io: CommandIo = {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    stdin: (async function* () {})(),
    env,
    now: () => 0,
    readFile: () => {
      throw Object.assign(new Error('no file'), { code: 'ENOENT' })
    },
    listFolder: () => undefined,
    exists: () => false,
    writeFile: unused,
    createFile: unused,
    fetch: () => Promise.reject(new Error('no network')),
    setExitCode: (asked) => {
      code = asked
    },
    exit: (asked) => {
      throw new Exit(asked)
    },
    onReload: unused,
    onStop: unused,
  }
  await runProgram('0.0.0', io, args).catch((error: unknown) => {
    if (!(error instanceof Exit)) throw error
    code = error.code
  })
  return { code, stdout, stderr }
}

/** Each command with the words behind it, as the completion of bash has them. */
const nodes = [
  ...(await run(['completion', 'bash'])).stdout.matchAll(/^ {4}'([^']*)'\) words='([^']*)' ;;$/gm),
].map(([, path = '', words = '']) => ({
  path: path.split(' ').filter(Boolean),
  words: words.split(' '),
}))

/** A word without its last letter but one: how people mistype it. */
const mistyped = (word: string) => `${word.slice(0, -2)}${word.slice(-1)}`

describe('a word that is nearly right', () => {
  it('is named at every command and every option', async () => {
    let tried = 0
    for (const { path, words } of nodes) {
      for (const word of words.filter((one) => one.length > 3)) {
        const wrong = mistyped(word)
        const { code, stdout, stderr } = await run([...path, wrong])
        assert.deepEqual([code, stdout], [64, ''], [...path, wrong].join(' '))
        assert.ok(stderr.includes(word), `${[...path, wrong].join(' ')}: ${stderr}`)
        assert.match(stderr, /^error: [^\n]+Did you mean [^\n]+\n$/)
        tried++
      }
    }
    assert.ok(tried > 60, `${tried}`)
  })

  for (const [args, named] of [
    [['help', 'chek'], 'check'],
    [['revocations', 'help', 'lst'], 'list'],
    [['dev-entra', 'srve'], 'serve'],
    [['dev-entra', 'token', 'alic'], 'alice'],
    [['dev-entra', 'disable', 'alic'], 'alice'],
    [['dev-entra', 'enable', 'portl'], 'portal'],
    [['dev-entra', 'refuse', 'alic', 'disabled'], 'alice'],
    [['dev-entra', 'refuse', 'alice', 'not-asigned'], 'not-assigned'],
    [['dev-entra', 'fault', 'rediect'], 'redirect'],
    [['drift', '--haproxy', 'h.cfg', '--ignore', 'guard-mising'], 'guard-missing'],
    [['revocations', 'add', 'usr', 'x'], 'user'],
    [['revocations', 'remove', 'clent', 'x'], 'client'],
  ] as const) {
    it(`is named: ${args.join(' ')}`, async () => {
      const { code, stdout, stderr } = await run(args)
      assert.deepEqual([code, stdout], [64, ''], stderr)
      assert.match(
        stderr,
        new RegExp(`^error: [^\\n]+did you mean "?${named}"?\\?[^\\n]*\\n$`, 'i'),
      )
    })
  }

  for (const [args, listed] of [
    [['completion', 'tcsh'], 'bash, zsh, fish'],
    [['init', '--who', 'nobody'], 'users, apps, both'],
    [['dev-entra', 'fault', 'zzzzzz'], 'none, slow, hang'],
    [['dev-entra', 'fault', 'slow', '--target', 'zzzzzz'], 'metadata, keys'],
    [['dev-entra', 'refuse', 'alice', 'zzzzzz'], 'disabled, not-assigned'],
    [['dev-entra', 'serve', '--flavour', 'zzzzzz'], 'entra, external-id'],
    [['revocations', 'add', 'zzzzzz', 'x'], 'user, client, token, session, tenant, key'],
  ] as const) {
    it(`far from every known one gets the list: ${args.join(' ')}`, async () => {
      const { code, stderr } = await run(args)
      assert.equal(code, 64)
      assert.ok(stderr.includes(listed), stderr)
      assert.match(stderr, /^error: [^\n]+\n$/)
    })
  }
})

describe('wrong use of one command', () => {
  for (const [args, said] of [
    [['revocations', 'add', 'user', 'alice'], /id of a user must be <tenant id>\/<object id>/],
    [['init', '--tenant', 'x'], /--tenant is not a GUID/],
    [['init', '--audience', 'x y'], /--audience /],
    [['dev-entra', 'serve', '--host', '10.0.0.1'], /--allow-remote/],
    [['dev-entra', 'serve', '--origin', 'x'], /--origin must be like/],
    [['dev-entra', 'rotate', '--url', 'x'], /--url must be like/],
  ] as const) {
    it(`ends with 64 and says what is wrong: ${args.join(' ')}`, async () => {
      const { code, stdout, stderr } = await run(args)
      assert.deepEqual([code, stdout], [64, ''])
      assert.match(stderr, said)
    })
  }

  it('is no answer that does not come: that is 69', async () => {
    for (const args of [
      ['dev-entra', 'rotate'],
      ['dev-entra', 'token', 'alice'],
      ['revocations', 'list'],
    ]) {
      const { code, stderr } = await run(args)
      assert.equal(code, 69, args.join(' '))
      assert.match(stderr, /^error: no .*answer[^\n]*\n$/)
    }
  })

  it('is no request for help', async () => {
    for (const args of [
      ['help'],
      ['help', 'check'],
      ['help', 'dev-entra', 'token'],
      ['--help'],
      ['revocations', 'help', 'add'],
    ]) {
      const { code, stdout, stderr } = await run(args)
      assert.deepEqual([code, stderr], [0, ''], args.join(' '))
      assert.match(stdout, /^Usage: haproxy-entra-auth/)
    }
  })
})

describe('a variable that nothing reads', () => {
  const env = { ENTRA_AUTH_ADMIN_ULR: 'http://127.0.0.1:9', ENTRA_AUTH_TENNANT_ID: 'x' }

  for (const args of [
    ['init', '--tenant', 'x'],
    ['serve'],
    ['check'],
    ['explain', '--claims', 'claims.json'],
    ['policies'],
    ['test', 'cases.yaml'],
    ['drift', '--haproxy', 'h.cfg'],
    ['haproxy-config'],
    ['revocations', 'list'],
    ['revocations', 'add', 'token', 'x'],
    ['revocations', 'remove', 'token', 'x'],
  ]) {
    it(`is reported once, with the one that was meant, by ${args.slice(0, 2).join(' ')}`, async () => {
      const { stderr } = await run(args, env)
      const warnings = stderr.split('\n').filter((line) => line.startsWith('warning: '))
      assert.deepEqual(warnings, [
        'warning: ENTRA_AUTH_ADMIN_ULR is set, and nothing reads it; did you mean ENTRA_AUTH_ADMIN_URL?',
        'warning: ENTRA_AUTH_TENNANT_ID is set, and nothing reads it; did you mean ENTRA_AUTH_TENANT_ID?',
      ])
    })
  }

  it('is not reported where a shell reads the output, or where no such variable counts', async () => {
    for (const args of [['completion', 'bash'], ['schema'], ['dev-entra', 'personas'], ['help']]) {
      assert.equal((await run(args, env)).stderr, '', args.join(' '))
    }
  })
})
