import assert from 'node:assert/strict'
import { it } from 'node:test'
import { startAuthority } from '../support/authority.ts'
import { eventually } from '../support/eventually.ts'
import { ids } from '../support/ids.ts'
import { fixtureConfig, startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

it('a tenant with another authority is answered by its former keys until the new ones are there', async (t) => {
  const service = await startService()
  t.after(() => service.close())
  const next = await startAuthority()
  t.after(() => next.close())
  let answer = () => {}
  next.contoso.v2.gate = new Promise<void>((done) => {
    answer = done
  })
  const statusOf = async () => (await verify(service, 'default', v2User())).status
  assert.equal(await statusOf(), 200)
  const tenants = {
    contoso: { id: ids.contoso, authority: next.url },
    fabrikam: { id: ids.fabrikam, authority: service.authority.url },
  }
  const reloaded = service.reload(fixtureConfig(service.authority.url, { config: { tenants } }))
  await eventually(
    () => next.requests.length,
    (count) => count >= 2,
  )
  assert.equal(await statusOf(), 200)
  answer()
  await reloaded
  assert.equal(service.app.authorities.get(ids.contoso)?.tenant.authority, next.url)
  assert.equal(await statusOf(), 200)
})
