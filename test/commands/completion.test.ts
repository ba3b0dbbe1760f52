import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { describe, it } from 'node:test'

const main = resolve(import.meta.dirname, '../../src/main.ts')
const run = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', env })

/** What bash offers for the last of these words. */
function offered(script: string, ...words: string[]): string[] {
  const line = ['haproxy-entra-auth', ...words].map((word) => `'${word}'`).join(' ')
  const test = `${script}\nCOMP_WORDS=(${line})\nCOMP_CWORD=${words.length}\n_haproxy_entra_auth\nprintf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = spawnSync('bash', ['-c', test], { encoding: 'utf8' })
  assert.equal(stderr, '')
  return stdout.split('\n').filter(Boolean)
}

describe('completion', () => {
  const bash = run(['completion', 'bash']).stdout

  it('offers commands, their commands, and options in bash', () => {
    assert.deepEqual(offered(bash, 'che'), ['check'])
    assert.deepEqual(offered(bash, 'dev-entra', 'tok'), ['token'])
    assert.deepEqual(offered(bash, 'check', '--off'), ['--offline'])
    assert.deepEqual(offered(bash, 'check', '--config', 'x.yaml', '--off'), ['--offline'])
    assert.deepEqual(offered(bash, 'nothing-like-this'), [])
    assert.deepEqual(offered(bash, 'help', 'dri'), ['drift'])
  })

  it('offers the fixed values of options and arguments in bash', () => {
    assert.deepEqual(offered(bash, 'init', '--who', ''), ['users', 'apps', 'both'])
    assert.deepEqual(offered(bash, 'init', '--who', '='), ['users', 'apps', 'both'])
    assert.deepEqual(offered(bash, 'init', '--who', '=', 'us'), ['users'])
    assert.deepEqual(offered(bash, 'init', '--who', 'users', '--cl'), ['--cloud', '--client-id'])
    assert.deepEqual(offered(bash, 'dev-entra', 'fault', '--target', 'm'), ['metadata'])
    assert.deepEqual(offered(bash, 'dev-entra', 'token', 'ali'), ['alice'])
    assert.deepEqual(offered(bash, 'dev-entra', 'refuse', 'alice', 'dis'), ['disabled'])
    assert.deepEqual(offered(bash, 'dev-entra', 'refuse', 'dis'), [])
    assert.deepEqual(offered(bash, 'revocations', 'add', 'cl'), ['client'])
    assert.deepEqual(offered(bash, 'completion', 'z'), ['zsh'])
  })

  it('leaves other values of options to file names, also those that are named like a command', () => {
    assert.deepEqual(offered(bash, 'check', '--config', ''), [])
    assert.deepEqual(offered(bash, 'check', '--config', 'drift', '--off'), ['--offline'])
    assert.deepEqual(offered(bash, 'check', '--config', 'drift', '--hap'), [])
  })

  it('has no expansion that zsh takes for a modifier', () => {
    assert.doesNotMatch(bash, /\$\{[^}]*:[A-Za-z]/)
  })

  it('is the same in zsh, and has a line for each command in fish', () => {
    const zsh = run(['completion', 'zsh']).stdout
    assert.ok(zsh.startsWith('autoload -U +X bashcompinit && bashcompinit\n'))
    assert.ok(zsh.endsWith(bash))
    const fish = run(['completion', 'fish']).stdout
    for (const line of fish.trim().split('\n')) {
      assert.match(
        line,
        /^complete -c haproxy-entra-auth -n '[^']+' (?:-a \S+|-a '[^']+'|-l \S+(?: -r| -x -a '[^']+')?) -d '.*'$/,
      )
    }
    assert.match(fish, / -l who -x -a 'users apps both' /)
    assert.match(fish, / -l config -r /)
    assert.match(fish, /-n '__fish_seen_subcommand_from serve; and not [^']*dev-entra' -l config /)
    assert.match(fish, /-n '__fish_seen_subcommand_from dev-entra;[^']*' -a token /)
  })

  it('refuses other shells with 64', () => {
    assert.equal(run(['completion', 'tcsh']).status, 64)
  })
})

describe('a word that is nearly right', () => {
  it('is named for commands, personas and faults', () => {
    assert.match(run(['chekc']).stderr, /Did you mean check\?/)
    assert.match(run(['dev-entra', 'fault', 'rediect']).stderr, /did you mean "redirect"\?/)
    assert.match(run(['dev-entra', 'token', 'alic']).stderr, /did you mean "alice"\?/)
  })

  it('is named for variables, and others that nothing reads are reported', () => {
    const env = {
      ENTRA_AUTH_TENANTID: 'x',
      ENTRA_AUTH_SOMETHING: 'x',
      // Of Kubernetes, beside a Service "entra-auth".
      ENTRA_AUTH_SERVICE_HOST: '10.0.0.1',
      ENTRA_AUTH_PORT_8080_TCP_ADDR: '10.0.0.1',
      ENTRA_AUTH_VERIFIER: '127.0.0.1:14480',
    }
    const { stderr } = run(['check', '--offline'], env)
    const warnings = stderr.split('\n').filter((line) => line.startsWith('warning: '))
    assert.deepEqual(warnings, [
      'warning: ENTRA_AUTH_SOMETHING is set, and nothing reads it',
      'warning: ENTRA_AUTH_TENANTID is set, and nothing reads it; did you mean ENTRA_AUTH_TENANT_ID?',
    ])
  })

  it('is reported where a GUID in ENTRA_AUTH_AUDIENCE lacks a character', () => {
    const env = {
      ENTRA_AUTH_TENANT_ID: '11111111-1111-4111-8111-111111111111',
      ENTRA_AUTH_AUDIENCE: '33333333-3333-4333-8333-33333333333,api://orders',
    }
    const { stderr, status } = run(['check', '--offline'], env)
    assert.equal(status, 78)
    assert.match(
      stderr,
      /ENTRA_AUTH_AUDIENCE.*is not a GUID: "33333333-3333-4333-8333-33333333333"/,
    )
  })
})
