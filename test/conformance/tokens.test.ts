import { after, describe, it } from 'node:test'
import { assertAllowed } from '../support/expect.ts'
import { startService, verify } from '../support/service.ts'
import { managedIdentity, v1User, v2User } from '../support/tokens.ts'
const service = await startService()
after(() => service.close())
describe('x', () => {
  it('a', async () => assertAllowed(await verify(service, 'default', v2User())))
  it('b', async () => assertAllowed(await verify(service, 'default', v1User())))
  it('c', async () => assertAllowed(await verify(service, 'default', managedIdentity())))
})
