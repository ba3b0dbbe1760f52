import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, it } from 'node:test'

const source = resolve(import.meta.dirname, '../../src')

/** What the files of a folder may import from; type-only imports bind nothing and are free. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  'cache-life.ts': [],
  'failure.ts': [],
  'loopback.ts': [],
  'nearest.ts': [],
  'steps.ts': [],
  'queue.ts': [],
  'regular-file.ts': [],
  'secrets.ts': [],
  config: ['cache-life.ts', 'keys', 'nearest.ts', 'loopback.ts', 'steps.ts'],
  keys: ['queue.ts', 'failure.ts', 'secrets.ts'],
  token: ['failure.ts', 'keys'],
  policy: ['cache-life.ts', 'failure.ts', 'token'],
  identity: ['failure.ts', 'token'],
  revocation: ['cache-life.ts', 'failure.ts', 'queue.ts', 'regular-file.ts', 'token'],
  session: ['failure.ts', 'loopback.ts', 'regular-file.ts', 'token', 'policy'],
  store: ['queue.ts', 'revocation'],
  verify: [
    'failure.ts',
    'steps.ts',
    'config',
    'keys',
    'token',
    'policy',
    'identity',
    'revocation',
    'session',
  ],
  'tls.ts': [],
  tracing: ['verify'],
  'listener.ts': ['failure.ts', 'verify'],
  'terminal.ts': ['config'],
  credential: ['config', 'keys'],
  'sign-in': [
    'failure.ts',
    'listener.ts',
    'config',
    'keys',
    'token',
    'policy',
    'session',
    'credential',
    'verify',
  ],
  explain: [
    'failure.ts',
    'terminal.ts',
    'config',
    'keys',
    'token',
    'policy',
    'identity',
    'session',
    'verify',
  ],
  check: ['failure.ts', 'terminal.ts', 'loopback.ts', 'config', 'keys', 'credential'],
  admin: [
    'failure.ts',
    'secrets.ts',
    'terminal.ts',
    'loopback.ts',
    'keys',
    'policy',
    'revocation',
    'explain',
    'verify',
  ],
  haproxy: ['loopback.ts', 'config', 'identity'],
  drift: ['nearest.ts', 'loopback.ts', 'terminal.ts', 'config', 'haproxy'],
  'dev-entra': ['nearest.ts', 'loopback.ts', 'terminal.ts'],
  'app.ts': [
    'steps.ts',
    'config',
    'keys',
    'token',
    'policy',
    'revocation',
    'verify',
    'explain',
    'admin',
    'listener.ts',
    'tls.ts',
    'tracing',
  ],
  commands: [
    'cache-life.ts',
    'regular-file.ts',
    'nearest.ts',
    'app.ts',
    'steps.ts',
    'queue.ts',
    'secrets.ts',
    'terminal.ts',
    'loopback.ts',
    'config',
    'keys',
    'token',
    'policy',
    'revocation',
    'session',
    'verify',
    'explain',
    'check',
    'store',
    'haproxy',
    'drift',
    'dev-entra',
    'identity',
    'failure.ts',
  ],
  'main.ts': ['commands', 'dev-entra', 'secrets.ts'],
}

/** Folders whose files are pure: same input, same output, whatever the machine does. */
const pureFolders = ['policy', 'identity']
const impureModules =
  /^node:(fs|net|http|https|child_process|dns|timers|os|process)|^(undici|fastify|pino)$/

interface Import {
  readonly from: string
  readonly target: string
}

const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts'),
)

describe('the layers of src', () => {
  it('have each folder named in this test', () => {
    assert.deepEqual(
      files.map(roomOf).filter((room) => !Object.hasOwn(mayImport, room)),
      [],
    )
  })

  it('import in one direction only', () => {
    const wrong = files.flatMap(readImports).filter(({ from, target }) => {
      if (!target.startsWith('.')) return false
      const room = roomOf(relative(source, resolve(source, dirname(from), target)))
      return room !== roomOf(from) && !mayImport[roomOf(from)]?.includes(room)
    })
    assert.deepEqual(wrong, [])
  })

  it('keep policy and identity free of input and output', () => {
    const wrong = files
      .filter((file) => pureFolders.includes(roomOf(file)))
      .flatMap(readImports)
      .filter(({ target }) => impureModules.test(target))
    assert.deepEqual(wrong, [])
  })

  it('load sign-in and its packages only where somebody signs in', () => {
    const packages = /^(oauth4webapi|@fastify\/cookie)$/
    const wrong = files
      .flatMap(readImports)
      .filter(({ from, target }) => packages.test(target) && roomOf(from) !== 'sign-in')
    assert.deepEqual(wrong, [])
    for (const room of Object.keys(mayImport)) {
      assert.equal(mayImport[room]?.includes('sign-in'), false, room)
    }
  })

  it('leave the process to main.ts', () => {
    const wrong = files.filter((file) => {
      const code = readFileSync(join(source, file), 'utf8').replace(/^\s*(\/\/|\*|\/\*).*$/gm, '')
      return file !== 'main.ts' && /\bprocess\.|\bDate\.now\(/.test(code)
    })
    assert.deepEqual(wrong, [])
  })
})

function roomOf(file: string): string {
  return file.split('/')[0] ?? ''
}

function readImports(file: string): Import[] {
  const code = readFileSync(join(source, file), 'utf8')
  const statements = code.matchAll(/^(?:import|export)\s(?!type\b)[^'"]*?from\s+'([^']+)'/gms)
  return (
    [...statements]
      // `import { type A }` alone binds nothing either.
      .filter(([statement]) => !/^import\s*\{(\s*type\s+\w+\s*,?)+\}/s.test(statement))
      .map(([, target]) => ({ from: file, target: target ?? '' }))
  )
}
