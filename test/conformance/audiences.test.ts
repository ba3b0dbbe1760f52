import { after, describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { assertAllowed, assertInvalidToken } from '../support/expect.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { grants, startService, verify } from '../support/service.ts'
import { v1User, v2App, v2User } from '../support/tokens.ts'

const policies = {
  default: { audiences: [ids.api, appIdUri], allow: [grants.user, grants.app] },
  other: { audiences: [ids.otherApi, 'api://other'], allow: [grants.user, grants.app] },
  mixed: { audiences: ['api://Orders/'], allow: [grants.user] },
}
const service = await startService({ config: { policies } })
after(() => service.close())

function refuses(what: string, aud: unknown, reason: FailureCode): void {
  it(`refuses ${what}`, async () => {
    assertInvalidToken(await verify(service, 'default', v2User({ aud })), reason)
    assertInvalidToken(await verify(service, 'default', v1User({ aud })), reason)
    assertInvalidToken(await verify(service, 'default', v2App({ aud })), reason)
  })
}

describe('the audience', () => {
  refuses('that of another API', ids.otherApi, 'audience_mismatch')
  refuses('Microsoft Graph by its id', '00000003-0000-0000-c000-000000000000', 'audience_mismatch')
  refuses('Microsoft Graph by its URL', 'https://graph.microsoft.com', 'audience_mismatch')
  refuses('workload identity federation', 'api://AzureADTokenExchange', 'audience_mismatch')
  refuses('none', undefined, 'claim_missing')
  refuses('an empty one', '', 'claim_malformed')
  refuses('a number', 1, 'claim_malformed')
  refuses('null', null, 'claim_malformed')
  refuses('a list that has the right one', [ids.api], 'claim_malformed')
  refuses('a list that has the right one among others', [ids.otherApi, ids.api], 'claim_malformed')
  refuses('the right one in capital letters', ids.api.toUpperCase(), 'audience_mismatch')
  refuses('the App ID URI in capital letters', appIdUri.toUpperCase(), 'audience_mismatch')
  refuses('the right one with a slash', `${appIdUri}/`, 'audience_mismatch')
  refuses('the right one with a scope', `${appIdUri}/Orders.Read`, 'audience_mismatch')
  refuses('the right one with a space', ` ${ids.api}`, 'audience_mismatch')
  refuses('the beginning of the right one', ids.api.slice(0, -1), 'audience_mismatch')
  refuses('two of them in one string', `${ids.api} ${appIdUri}`, 'audience_mismatch')
  refuses('the client of the token', ids.client, 'audience_mismatch')
  refuses('a prototype name', '__proto__', 'audience_mismatch')
  it('is compared letter by letter with that of the configuration', async () => {
    assertAllowed(await verify(service, 'mixed', v2User({ aud: 'api://Orders/' })))
    assertInvalidToken(
      await verify(service, 'mixed', v2User({ aud: 'api://orders/' })),
      'audience_mismatch',
    )
    assertInvalidToken(
      await verify(service, 'mixed', v2User({ aud: 'api://Orders' })),
      'audience_mismatch',
    )
  })
  it('right for one policy is refused on another', async () => {
    const token = v2User()
    assertAllowed(await verify(service, 'default', token))
    assertInvalidToken(await verify(service, 'other', token), 'audience_mismatch')
    const other = v2User({ aud: 'api://other' })
    assertAllowed(await verify(service, 'other', other))
    assertInvalidToken(await verify(service, 'default', other), 'audience_mismatch')
  })
})
