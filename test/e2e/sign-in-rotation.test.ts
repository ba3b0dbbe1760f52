/** The sealing keys of two verifiers are rotated while people use them. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { values } from './client.ts'
import { cookiesOf, type SignInReplicas, startSignInReplicas } from './sign-in-replicas.ts'

/**
 * What takes minutes takes less here: the folder of sealing keys is read five times a second, and the
 * signal makes a key six minutes older.
 */
const inHaste = `
const now = performance.now.bind(performance)
let aheadMs = 0
performance.now = () => now() + aheadMs
process.on('SIGWINCH', () => { aheadMs += 360_000 })
const every = globalThis.setInterval
globalThis.setInterval = (call, ms, ...more) => every(call, ms === 10_000 ? 200 : ms, ...more)
`

const cleanUps: (() => unknown)[] = []
let replicas: SignInReplicas
before(async () => {
  replicas = await startSignInReplicas(
    { after: (cleanUp) => cleanUps.push(cleanUp) },
    {
      // So that each answer is the verifier's.
      policy: 'cacheSeconds: 0,',
      env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(inHaste)}` },
    },
  )
})
after(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

/** Signs a person in through HAProxy and returns the cookies. */
async function signIn(): Promise<readonly string[]> {
  const begun = await replicas.open('/oauth2/start?rd=/page', [])
  assert.equal(begun.status, 302, begun.body)
  const entra = await fetch(values(begun, 'location')[0] ?? '', { redirect: 'manual' })
  const callback = new URL(entra.headers.get('location') ?? '')
  const ended = await replicas.open(callback.pathname + callback.search, cookiesOf(begun))
  assert.equal(ended.status, 302, ended.body)
  return cookiesOf(ended)
}

/** The id of the key that sealed a session: the first six bytes of its cookie. */
const keyOf = (cookies: readonly string[]) =>
  /__Host-entra-session=(.{8})/.exec(cookies.join('; '))?.[1] ?? ''

describe('sealing keys that are rotated under load', () => {
  it('cost no session, no sign-in and no answer', async () => {
    const sessions = [await signIn(), await signIn()]
    const oldKey = keyOf(sessions[0] ?? [])
    const answers: string[] = []
    let isOver = false
    const load = async () => {
      while (!isOver) {
        for (const cookies of sessions) {
          for (const path of ['/page', '/oauth2/userinfo']) {
            answers.push(`${path} ${(await replicas.open(path, cookies)).status}`)
          }
        }
      }
    }
    const loads = [load(), load()]
    const hasBoth = ({ msg, keys }: { msg: string; keys?: unknown }) =>
      msg === 'sealing keys read' && Array.isArray(keys) && keys.includes('zz-next.key')
    writeFileSync(join(replicas.sealingFolder, 'zz-next.key'), 'n'.repeat(43))
    const { first, second } = replicas
    await Promise.all([first.waitForLog(hasBoth), second.waitForLog(hasBoth)])
    // One seals with the new key before the other does.
    for (const service of [first, second]) {
      service.kill('SIGWINCH')
      const fresh = await eventually(signIn, (cookies) => keyOf(cookies) !== oldKey)
      sessions.push(fresh, await signIn())
    }
    const seen = answers.length
    await eventually(
      () => answers.length,
      (count) => count >= seen + 2 * sessions.length,
    )
    isOver = true
    await Promise.all(loads)
    assert.ok(sessions.length >= 6)
    assert.deepEqual(
      answers.filter((answer) => !answer.endsWith(' 200')),
      [],
    )
    // From now on both seal with the new key.
    for (const cookies of [await signIn(), await signIn(), await signIn()]) {
      assert.notEqual(keyOf(cookies), oldKey)
    }
  })
})
