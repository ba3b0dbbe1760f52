import assert from 'node:assert/strict'
import { it } from 'node:test'
import { holdKey } from '../support/held-key.ts'
import { ids } from '../support/ids.ts'
import { fixtureConfig } from '../support/service.ts'
import { signIn } from '../support/sessions.ts'
import { openBrowser, startSignIn } from '../support/sign-in.ts'
import { v2User } from '../support/tokens.ts'

it('/oauth2/auth: a request that waits for a key during a reload is judged by the new rules', async (t) => {
  const service = await startSignIn()
  t.after(() => service.close())
  const held = holdKey(service.authority)
  const answered = openBrowser(service).visit('/oauth2/auth?policy=mixed', {
    headers: { Authorization: `Bearer ${v2User({}, { key: held.key })}` },
  })
  await held.isAskedFor()
  const session = { actor: 'user', session: true }
  await service.reload(
    fixtureConfig(service.authority.url, {
      config: {
        signIn,
        revocationFile: '/nowhere/revocations.json',
        policies: {
          default: { allow: [session] },
          mixed: {
            audiences: [ids.api],
            allow: [session, { actor: 'user', scopes: ['Orders.Read'] }],
            deny: [{ users: [ids.user] }],
          },
        },
      },
    }),
  )
  held.release()
  const page = await answered
  assert.deepEqual([page.status, page.reason], [403, 'denied_by_rule'])
})
