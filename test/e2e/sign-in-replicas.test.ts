/** One of two verifiers goes in the middle of a sign-in. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { values } from './client.ts'
import { cookiesOf, type SignInReplicas, startSignInReplicas } from './sign-in-replicas.ts'

const cleanUps: (() => unknown)[] = []
let replicas: SignInReplicas
before(async () => {
  replicas = await startSignInReplicas({ after: (cleanUp) => cleanUps.push(cleanUp) })
})
after(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

describe('a sign-in that begins at one verifier, which is then killed', () => {
  it('ends at the other one, and the session counts there', async () => {
    const begun = await replicas.open('/oauth2/start?rd=/deep', [], replicas.signInPorts[0])
    assert.equal(begun.status, 302, begun.body)
    const entra = await fetch(values(begun, 'location')[0] ?? '', { redirect: 'manual' })
    const callback = new URL(entra.headers.get('location') ?? '')
    replicas.first.kill('SIGKILL')
    await replicas.first.exited
    // HAProxy has not noticed yet, and sends every other one of these to the verifier that is gone.
    for (let person = 1; person <= 6; person++) {
      const start = await replicas.open('/oauth2/start?rd=/deep', [])
      assert.equal(start.status, 302, `person ${person}: ${start.body}`)
    }
    const ended = await replicas.open(callback.pathname + callback.search, cookiesOf(begun))
    assert.equal(ended.status, 302, ended.body)
    assert.deepEqual(values(ended, 'location'), ['/deep'])
    const page = await eventually(
      () => replicas.open('/deep', cookiesOf(ended)),
      ({ status }) => status !== 503,
    )
    assert.equal(page.status, 200, page.body)
  })

  it('is not asked any more, as its health check fails', async () => {
    const isDown = (line: string) => /Server entra-sign-in\/s1 is DOWN/.test(line)
    await eventually(
      () => replicas.haproxy.logLines.some(isDown),
      (isLogged) => isLogged,
    )
    assert.equal((await replicas.open('/oauth2/start?rd=/deep', [])).status, 302)
  })
})
