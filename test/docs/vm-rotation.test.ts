/** The steps of docs/recipes/vm.md that rotate keys, certificates and secrets, run as they are written. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createCertificate } from '../../src/dev-entra/certificate.ts'
import { type Life, makeFolder } from '../serve/process.ts'

const page = readFileSync(new URL('../../docs/recipes/vm.md', import.meta.url), 'utf8')

/** The commands of the steps of a section. */
function stepsOf(title: string): string[] {
  const [, section = ''] = new RegExp(`\\n## ${title}\\n(.*?)\\n## `, 's').exec(page) ?? []
  return [...section.matchAll(/```sh\n(.*?)```/gs)].map(([, text = '']) =>
    text.replaceAll(/^ {3}/gm, ''),
  )
}

/** A machine with stand-ins for its programs, below a folder of its own. */
interface Machine {
  path(...parts: string[]): string
  /** Puts a program, a script for the shell, on its PATH. */
  program(name: string, script: string): void
  /** Runs the commands of a step; fails where one of them does. */
  run(step: string, env?: Readonly<Record<string, string>>): void
  /** The calls of systemctl since the last look, each with the files as the service has read them then. */
  newCalls(): { readonly call: string; read(name: string): string }[]
}

/** `files` are those that services read, below `/etc`. */
function makeMachine(t: Life, files: readonly string[]): Machine {
  const folder = makeFolder(t)
  const path = (...parts: string[]) => join(folder, ...parts)
  for (const name of ['etc/haproxy-entra-auth', 'etc/haproxy', 'bin', 'seen']) {
    mkdirSync(path(name), { recursive: true })
  }
  const program = (name: string, script: string) => {
    writeFileSync(path('bin', name), `#!/bin/sh\n${script}\n`)
    chmodSync(path('bin', name), 0o755)
  }
  program(
    'systemctl',
    `n=$(ls "${path('seen')}" | wc -l)
mkdir "${path('seen')}/$n"
echo "$*" > "${path('seen')}/$n/call"
cp ${files.map((name) => `"${path('etc', name)}"`).join(' ')} "${path('seen')}/$n/"`,
  )
  for (const name of ['curl', 'haproxy', 'haproxy-entra-auth']) program(name, 'exit 0')
  let seen = 0
  return {
    path,
    program,
    run(step, env = {}) {
      const { status, stderr } = spawnSync(
        'sh',
        ['-ec', step.replaceAll('/etc/', `${path('etc')}/`)],
        {
          encoding: 'utf8',
          env: { PATH: `${path('bin')}:${process.env.PATH}`, ...env },
        },
      )
      assert.equal(status, 0, stderr)
    },
    newCalls() {
      const first = seen
      seen = readdirSync(path('seen')).length
      return Array.from({ length: seen - first }, (_, i) => {
        const read = (name: string) => readFileSync(path('seen', String(first + i), name), 'utf8')
        return { call: read('call').trim(), read }
      })
    },
  }
}

/** The key that HAProxy sends: a line of its configuration counts before its environment. */
function keyOfHaproxy(config: string, started: string): string {
  const set = [...config.matchAll(/^ *setenv ENTRA_AUTH_CALLER_KEY (\S+)$/gm)]
  assert.ok(set.length <= 1, config)
  return set[0]?.[1] ?? started
}

test('the steps that rotate the caller key leave no moment with a key that the verifier does not take', (t) => {
  const steps = stepsOf('Rotating the caller key')
  assert.equal(steps.length, 3)
  const machine = makeMachine(t, ['haproxy-entra-auth/caller-key', 'haproxy/haproxy.cfg'])
  const { path, program } = machine
  writeFileSync(path('etc/haproxy-entra-auth/caller-key'), `${'old'.repeat(8)}\n`)
  writeFileSync(
    path('etc/haproxy/haproxy.cfg'),
    'global\n    maxconn 100\n\ndefaults\n    mode http\n',
  )
  program('openssl', `echo ${'new'.repeat(21)}`)

  // Before the first step.
  const started = 'old'.repeat(8)
  let taken = [started]
  let sent = started
  const calls: string[] = []
  for (const step of steps) {
    machine.run(step)
    for (const { call, read } of machine.newCalls()) {
      calls.push(call)
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

/** As much of openssl as the page uses. */
const openssl = `
const { createPrivateKey, createPublicKey, X509Certificate } = require('node:crypto')
const { readFileSync } = require('node:fs')
const [command, ...words] = process.argv.slice(2)
const read = (word) => readFileSync(words[words.indexOf(word) + 1])
const print = (key) => process.stdout.write(key.export({ type: 'spki', format: 'pem' }))
if (command === 'x509') print(new X509Certificate(read('-in')).publicKey)
else if (command === 'pkey') print(createPublicKey(createPrivateKey(read('-in'))))
else {
  const certificate = new X509Certificate(readFileSync(words.at(-1)))
  if (!certificate.verify(new X509Certificate(read('-CAfile')).publicKey)) process.exit(1)
}`

/** A certificate that is its own authority, and its key. */
function makePair(name: string): { readonly certificate: string; readonly key: string } {
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const certificate = createCertificate({
    commonName: name,
    serial: Buffer.from([1]),
    notBeforeMs: 0,
    notAfterMs: 4_000_000_000_000,
    hosts: ['verifier.internal'],
    ...pair,
  })
  const der = certificate.toString('base64').replaceAll(/.{64}/g, '$&\n')
  return {
    certificate: `-----BEGIN CERTIFICATE-----\n${der}\n-----END CERTIFICATE-----\n`,
    key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

test('the steps that renew the certificate leave no moment in which HAProxy does not trust it', (t) => {
  const steps = stepsOf('Renewing the certificate of the verifier')
  assert.equal(steps.length, 3)
  const machine = makeMachine(t, [
    'haproxy-entra-auth/tls.crt',
    'haproxy-entra-auth/tls.key',
    'haproxy/verifier-ca.pem',
  ])
  const { path, program } = machine
  writeFileSync(path('openssl.cjs'), openssl)
  program('openssl', `exec "${process.execPath}" "${path('openssl.cjs')}" "$@"`)
  const [before, fresh] = [makePair('before'), makePair('fresh')]
  const write = (name: string, text: string) => writeFileSync(path('etc', name), text)
  write('haproxy/verifier-ca.pem', before.certificate)
  write('haproxy-entra-auth/tls.crt', before.certificate)
  write('haproxy-entra-auth/tls.key', before.key)
  write('haproxy-entra-auth/verifier-ca.pem.new', fresh.certificate)
  write('haproxy-entra-auth/tls.crt.new', fresh.certificate)

  // A key of another certificate stops the first step, and nothing has changed.
  write('haproxy-entra-auth/tls.key.new', before.key)
  assert.throws(() => machine.run(steps[0] ?? ''))
  assert.deepEqual(machine.newCalls(), [])
  assert.equal(readFileSync(path('etc/haproxy/verifier-ca.pem'), 'utf8'), before.certificate)

  write('haproxy-entra-auth/tls.key.new', fresh.key)
  let trusted = before.certificate
  let shown = before.certificate
  const calls: string[] = []
  for (const step of steps) {
    machine.run(step)
    for (const { call, read } of machine.newCalls()) {
      calls.push(call)
      if (call === 'reload haproxy') trusted = read('verifier-ca.pem')
      else {
        shown = read('tls.crt')
        const key = createPrivateKey(read('tls.key'))
        assert.ok(new X509Certificate(shown).checkPrivateKey(key), `after "${call}"`)
      }
      assert.ok(trusted.includes(shown), `after "${call}"`)
    }
  }
  assert.deepEqual(calls, ['reload haproxy', 'restart haproxy-entra-auth', 'reload haproxy'])
  assert.deepEqual([trusted, shown], [fresh.certificate, fresh.certificate])
})

test('the steps that replace the secret of sign-in leave no moment with one that Entra refuses', (t) => {
  const steps = stepsOf('Replacing the secret of sign-in')
  assert.equal(steps.length, 3)
  const machine = makeMachine(t, ['haproxy-entra-auth/sign-in-secret'])
  const { path, program } = machine
  mkdirSync(path('secrets'))
  writeFileSync(path('secrets/key-1'), 'old-secret\n')
  writeFileSync(path('etc/haproxy-entra-auth/sign-in-secret'), 'old-secret\n')
  // Without --append, Entra forgets every secret that there was.
  program(
    'az',
    `test "$5 $6" = "--id client-id" || exit 2
case "$4 $*" in
  reset*--append*) ;;
  reset*) rm -f "${path('secrets')}"/* ;;
esac
case "$4" in
  reset) echo new-secret > "${path('secrets')}/key-2"; cat "${path('secrets')}/key-2" ;;
  delete) for word; do last=$word; done; rm "${path('secrets')}/$last" ;;
esac`,
  )
  const accepted = () =>
    readdirSync(path('secrets')).map((name) => readFileSync(path('secrets', name), 'utf8'))
  let used = 'old-secret\n'
  for (const step of steps) {
    machine.run(step, { CLIENT: 'client-id', OLD: 'key-1' })
    for (const { call, read } of machine.newCalls()) {
      assert.equal(call, 'restart haproxy-entra-auth')
      used = read('sign-in-secret')
    }
    assert.ok(accepted().includes(used), step)
  }
  assert.deepEqual([used, accepted()], ['new-secret\n', ['new-secret\n']])
  const { mode } = statSync(path('etc/haproxy-entra-auth/sign-in-secret'))
  assert.equal(mode & 0o077, 0, 'the secret is for root alone')
})
