import assert from 'node:assert/strict'
import { it } from 'node:test'
import { holdKey } from '../support/held-key.ts'
import { ids } from '../support/ids.ts'
import { fixtureConfig, grants, loadFile, startService, verify } from '../support/service.ts'
import { openBrowser, signInWith, startSignIn } from '../support/sign-in.ts'
import { v2User } from '../support/tokens.ts'

it('a token that a reload refused at first stands in the audit once it is admitted', async (t) => {
  const lines: object[] = []
  const service = await startService({
    audit: { info: (f: object) => void lines.push(f) } as never,
  })
  t.after(() => service.close())
  const file = (policy: object) => fixtureConfig(service.authority.url, { policy } as never)
  const held = holdKey(service.authority)
  const token = v2User({}, { key: held.key })
  const answered = verify(service, 'default', token)
  await held.isAskedFor()
  await service.app.reload(await loadFile(file({ deny: [{ users: [ids.user] }] })))
  held.release()
  assert.equal((await answered).status, 403)
  assert.equal(lines.length, 0)
  await service.app.reload(await loadFile(file({})))
  assert.equal((await verify(service, 'default', token)).status, 200)
  assert.equal(lines.length, 1)
})

it('a token is noted with its last 20 policies, so that its entry stays small', async (t) => {
  const lines: { policy?: string }[] = []
  const policies = Object.fromEntries(
    Array.from({ length: 21 }, (_, i) => [`p${i}`, { audiences: [ids.api], allow: [grants.user] }]),
  )
  const service = await startService({
    config: { policies },
    audit: { info: (line: object) => void lines.push(line) } as never,
  })
  t.after(() => service.close())
  const token = v2User()
  const askEach = async (...names: string[]) => {
    for (const name of names) assert.equal((await verify(service, name, token)).status, 200)
    return lines.splice(0).map(({ policy }) => policy)
  }
  const names = Object.keys(policies)
  assert.deepEqual(await askEach(...names), names)
  // A reload forgets what policies said, and not that they admitted the token.
  await service.reload(fixtureConfig(service.authority.url, { config: { policies } }))
  assert.deepEqual(await askEach('p20', 'p1', 'p0'), ['p0'])
})

it('a session whose first request at /oauth2/auth is cross-site stands in the audit once it is admitted', async (t) => {
  const lines: object[] = []
  const service = await startSignIn({ audit: { info: (f: object) => void lines.push(f) } as never })
  t.after(() => service.close())
  const browser = openBrowser(service)
  await signInWith(service, browser)
  const cross = await browser.visit('/oauth2/auth', {
    headers: {
      'Sec-Fetch-Site': 'cross-site',
      'X-Forwarded-Method': 'POST',
      Origin: 'https://evil.example',
    },
  })
  assert.equal(cross.status, 403)
  const own = await browser.visit('/oauth2/auth', {
    headers: { 'Sec-Fetch-Site': 'same-origin', 'X-Forwarded-Method': 'GET' },
  })
  assert.equal(own.status, 202)
  assert.equal(lines.length, 1)
})
