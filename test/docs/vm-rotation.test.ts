/** The steps of docs/recipes/vm.md that rotate the caller key, run as they are written. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeFolder } from '../serve/process.ts'

const page = readFileSync(new URL('../../docs/recipes/vm.md', import.meta.url), 'utf8')
const section = /\n## Rotating the caller key\n(.*?)\n## /s.exec(page)?.[1] ?? ''
const steps = [...section.matchAll(/```sh\n(.*?)```/gs)].map(([, text = '']) =>
  text.replaceAll(/^ {3}/gm, ''),
)

/** The key that HAProxy sends: a line of its configuration counts before its environment. */
function keyOfHaproxy(config: string, started: string): string {
  const set = [...config.matchAll(/^ *setenv ENTRA_AUTH_CALLER_KEY (\S+)$/gm)]
  assert.ok(set.length <= 1, config)
  return set[0]?.[1] ?? started
}

test('the steps that rotate the caller key leave no moment with a key that the verifier does not take', (t) => {
  assert.equal(steps.length, 3)
  const folder = makeFolder(t)
  const path = (...parts: string[]) => join(folder, ...parts)
  for (const name of ['etc/haproxy-entra-auth', 'etc/haproxy', 'bin', 'seen']) {
    mkdirSync(path(name), { recursive: true })
  }
  writeFileSync(path('etc/haproxy-entra-auth/caller-key'), `${'old'.repeat(8)}\n`)
  writeFileSync(
    path('etc/haproxy/haproxy.cfg'),
    'global\n    maxconn 100\n\ndefaults\n    mode http\n',
  )
  const program = (name: string, text: string) => {
    writeFileSync(path('bin', name), `#!/bin/sh\n${text}\n`)
    chmodSync(path('bin', name), 0o755)
  }
  // What each service has read after each call, in the order of the calls.
  program(
    'systemctl',
    `n=$(ls "${path('seen')}" | wc -l)
mkdir "${path('seen')}/$n"
echo "$*" > "${path('seen')}/$n/call"
cp "${path('etc/haproxy-entra-auth/caller-key')}" "${path('etc/haproxy/haproxy.cfg')}" "${path('seen')}/$n/"`,
  )
  program('openssl', `echo ${'new'.repeat(21)}`)
  program('curl', 'exit 0')
  program('haproxy', 'exit 0')

  // Before the first step.
  const started = 'old'.repeat(8)
  let taken = [started]
  let sent = started
  let seen = 0
  const calls: string[] = []
  for (const step of steps) {
    const script = step.replaceAll('/etc/', `${path('etc')}/`)
    const { status, stderr } = spawnSync('sh', ['-ec', script], {
      encoding: 'utf8',
      env: { PATH: `${path('bin')}:${process.env.PATH}` },
    })
    assert.equal(status, 0, stderr)
    for (; ; seen++) {
      let call: string
      try {
        call = readFileSync(path('seen', String(seen), 'call'), 'utf8').trim()
      } catch {
        break
      }
      calls.push(call)
      const read = (name: string) => readFileSync(path('seen', String(seen), name), 'utf8')
      if (call === 'restart haproxy-entra-auth') taken = read('caller-key').trim().split('\n')
      else sent = keyOfHaproxy(read('haproxy.cfg'), started)
      assert.ok(taken.includes(sent), `after "${call}"`)
    }
  }
  assert.deepEqual(calls, [
    'restart haproxy-entra-auth',
    'reload haproxy',
    'restart haproxy-entra-auth',
  ])
  const fresh = 'new'.repeat(21)
  assert.deepEqual([taken, sent], [[fresh], fresh])
  const env = readFileSync(path('etc/haproxy-entra-auth/haproxy.env'), 'utf8')
  assert.equal(env, `ENTRA_AUTH_CALLER_KEY=${fresh}\n`)
  for (const name of ['etc/haproxy-entra-auth/caller-key', 'etc/haproxy/haproxy.cfg']) {
    assert.equal(statSync(path(name)).mode & 0o077, 0, `${name} is for root alone`)
  }
})
