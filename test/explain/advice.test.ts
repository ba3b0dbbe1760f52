import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { IssueRequest } from '../../src/dev-entra/token-issuer.ts'
import type { Explanation } from '../../src/explain/explanation.ts'
import {
  configText,
  contoso,
  fabrikam,
  ordersId,
  staffGroup,
  startAuthority,
  startService,
  type TestAuthority,
} from './fixture.ts'

let authority: TestAuthority
before(async () => {
  authority = await startAuthority()
})
after(() => authority.close())

interface Setting {
  readonly orders?: string
  readonly tenants?: string
  readonly nowMs?: number
}

async function explain(
  token: string | IssueRequest,
  { orders = '', tenants = '', nowMs }: Setting = {},
): Promise<Explanation> {
  const now = () => nowMs ?? Date.now()
  const service = await startService(configText(authority.origin, { orders, tenants }), now)
  try {
    const text = typeof token === 'string' ? token : await authority.issue(token)
    return await service.explain('orders', `Bearer ${text}`)
  } finally {
    await service.close()
  }
}

function policyOf(audience: string, allow: string, more = ''): string {
  return `audiences: ["${audience}"]\n    allow: [${allow}]\n    ${more}`
}

const user = '{ actor: user, scopes: [Orders.Read] }'

/** Fails unless the explanation has this reason, and for each pair a change like that. */
function assertAdvice(
  explanation: Explanation,
  reason: string,
  ...wanted: readonly (readonly [string, RegExp])[]
): void {
  assert.equal(explanation.reason, reason)
  const changes = explanation.checks.flatMap((check) => check.changes)
  for (const [where, text] of wanted) {
    assert.ok(
      changes.some((change) => change.where === where && text.test(change.text)),
      `no change of the ${where} like ${text} in ${JSON.stringify(changes, undefined, 1)}`,
    )
  }
}

describe('explain tells what to change', () => {
  it('when a v1.0 token has the identifier URI and the policy the client id', async () => {
    const explanation = await explain({ persona: 'alice', version: '1.0' })
    assertAdvice(
      explanation,
      'audience_mismatch',
      ['registration', /requestedAccessTokenVersion to 2/],
      ['policy', /add api:\/\/orders to "audiences"/i],
    )
  })

  it('when a v2.0 token has the client id and the policy the identifier URI', async () => {
    const explanation = await explain(
      { persona: 'alice' },
      { orders: policyOf('api://orders', user) },
    )
    assertAdvice(
      explanation,
      'audience_mismatch',
      ['registration', /requestedAccessTokenVersion 2/],
      ['policy', new RegExp(`add ${ordersId}`, 'i')],
    )
  })

  it('when the audience differs only by api:// or letter case', async () => {
    const uri = await explain({ persona: 'alice' }, { orders: policyOf(`api://${ordersId}`, user) })
    assertAdvice(uri, 'audience_mismatch', ['policy', /the same API in the form of the other/])
    const cased = await explain(
      { persona: 'alice', claims: { aud: 'api://Orders' } },
      { orders: policyOf('api://orders', user) },
    )
    assertAdvice(cased, 'audience_mismatch', ['policy', /letter by letter/])
  })

  for (const [name, aud, audiences, wanted, unwanted] of [
    [
      'a slash at the end, before the other form',
      `api://${ordersId}/`,
      [ordersId, `api://${ordersId}`],
      ['policy', new RegExp(`it has api://${ordersId},.*slash`)],
      /other token version/,
    ],
    [
      'letter case, before the other form',
      ordersId.toUpperCase().replaceAll('3', 'a').toUpperCase(),
      [`api://${ordersId.replaceAll('3', 'a')}`, ordersId.replaceAll('3', 'a')],
      ['policy', new RegExp(`it has ${ordersId.replaceAll('3', 'a')},.*letter case`)],
      /other token version/,
    ],
    [
      'the id of the tenant in front',
      `api://${contoso}/${ordersId}`,
      [ordersId],
      ['policy', /is the same API/],
      /another API/,
    ],
    [
      'spn: in front',
      `spn:${ordersId}`,
      [`api://${ordersId}`, ordersId],
      ['request', new RegExp(`ask for ${ordersId} without spn:`)],
      /another API|other token version/,
    ],
    [
      'a scope in the policy',
      `api://${ordersId}`,
      [`api://${ordersId}/Orders.Read`],
      ['policy', /in place of .*is a scope/],
      /another API/,
    ],
    [
      'the default scope in the policy',
      ordersId,
      [`api://${ordersId}/.default`],
      ['policy', /in place of .*is a scope/],
      /another API/,
    ],
    [
      'a scope in the token',
      `api://${ordersId}/.default`,
      [`api://${ordersId}`],
      ['request', /is a scope.*v2\.0 token endpoint/],
      /another API/,
    ],
  ] as const) {
    it(`when the audience is the nearest one but for ${name}`, async () => {
      const list = audiences.map((one) => `"${one}"`).join(', ')
      const explanation = await explain(
        { persona: 'alice', claims: { aud } },
        { orders: `audiences: [${list}]\n    allow: [${user}]` },
      )
      assertAdvice(explanation, 'audience_mismatch', wanted)
      const texts = explanation.checks.flatMap((check) => check.changes.map(({ text }) => text))
      assert.doesNotMatch(texts.join('\n'), unwanted)
    })
  }

  it('when the audience is another identifier URI of the same host', async () => {
    const explanation = await explain(
      { persona: 'alice', claims: { aud: 'https://api.example.com/stock' } },
      { orders: policyOf('https://api.example.com/orders', user) },
    )
    assertAdvice(explanation, 'audience_mismatch', ['request', /If that is another API/])
  })

  for (const version of ['1.0', '2.0'] as const) {
    it(`when a client has no service principal in the tenant, v${version}`, async () => {
      const orders = policyOf(ordersId, '{ actor: app, roles: [Orders.Process] }')
      const issued = await authority.issue({ persona: 'idle', version })
      for (const gone of [['oid'], ['oid', 'sub']]) {
        const payload = JSON.parse(Buffer.from(issued.split('.')[1] ?? '', 'base64url').toString())
        for (const claim of gone) delete payload[claim]
        const token = await authority.sign(JSON.stringify(payload))
        const explanation = await explain(token, { orders })
        assertAdvice(explanation, 'claim_missing', [
          'directory',
          /no service principal in contoso.*az ad sp create --id c3333333/s,
        ])
        const texts = explanation.checks.flatMap((check) => check.changes.map(({ text }) => text))
        assert.doesNotMatch(texts.join('\n'), /scope=/)
      }
    })
  }

  for (const [issuer, authority] of [
    [`https://login.microsoftonline.us/${contoso}/v2.0`, 'https://login.microsoftonline.us'],
    [`https://${contoso}.ciamlogin.com/${contoso}/v2.0`, `https://${contoso}.ciamlogin.com`],
  ] as const) {
    it(`when the tenant has the wrong authority: ${issuer}`, async () => {
      const explanation = await explain({ persona: 'alice', claims: { iss: issuer } })
      assertAdvice(explanation, 'issuer_mismatch', [
        'configuration',
        new RegExp(`add to the tenant contoso: authority: ${authority} `),
      ])
    })
  }

  it('when the token comes from Azure AD B2C', async () => {
    const iss = `https://contoso.b2clogin.com/${contoso}/v2.0/`
    const explanation = await explain({ persona: 'alice', claims: { iss } })
    assertAdvice(explanation, 'issuer_mismatch', ['request', /Azure AD B2C.*not supported/])
  })

  it('but never an authority that anybody can have', async () => {
    for (const host of ['evil.ciamlogin.com', `${contoso}.ciamlogin.com.evil.example`]) {
      const iss = `https://${host}/${contoso}/v2.0`
      const explanation = await explain({ persona: 'alice', claims: { iss } })
      assert.equal(explanation.reason, 'issuer_mismatch')
      const texts = explanation.checks.flatMap((check) => check.changes.map(({ text }) => text))
      assert.doesNotMatch(texts.join('\n'), /evil/)
    }
  })

  it('when the token is one for Microsoft Graph', async () => {
    const graph = { aud: '00000003-0000-0000-c000-000000000000' }
    const withNonce = await explain({ persona: 'alice', claims: graph, header: { nonce: 'x' } })
    assertAdvice(withNonce, 'token_for_graph', ['request', /Graph.*Orders\.Read/s])
    const without = await explain({ persona: 'alice', claims: graph })
    assertAdvice(without, 'audience_mismatch', ['request', /asked for Microsoft Graph/])
  })

  it('when it is an ID token', async () => {
    const explanation = await explain({ persona: 'alice', idToken: true })
    assertAdvice(explanation, 'not_an_access_token', ['request', /ID token.*access_token/s])
  })

  it('when an app has no role assigned', async () => {
    const orders = policyOf(ordersId, '{ actor: app, roles: [Orders.Process] }')
    const explanation = await explain({ persona: 'idle' }, { orders })
    assertAdvice(explanation, 'role_missing', [
      'directory',
      /Orders\.Process.*c3333333.*Grant admin consent/s,
    ])
  })

  it('when a user has no role assigned', async () => {
    const orders = policyOf(ordersId, '{ actor: user, roles: [Orders.Admin] }')
    const explanation = await explain({ persona: 'alice' }, { orders })
    assertAdvice(
      explanation,
      'role_missing',
      ['directory', /Orders\.Admin.*Users and groups/s],
      ['request', /new token/],
    )
  })

  it('when the user is in more than 200 groups', async () => {
    const orders = policyOf(ordersId, `{ actor: user, groups: [${staffGroup}] }`)
    const explanation = await explain({ persona: 'many' }, { orders })
    assertAdvice(explanation, 'groups_overage', ['registration', /200.*ApplicationGroup/s])
  })

  it('when the token has no groups claim, and when it has names in place of ids', async () => {
    const orders = policyOf(ordersId, `{ actor: user, groups: [${staffGroup}] }`)
    const none = await explain({ persona: 'alice', removeClaims: ['groups'] }, { orders })
    assertAdvice(none, 'group_missing', ['registration', /groupMembershipClaims/])
    const names = await explain({ persona: 'alice', claims: { groups: ['Staff'] } }, { orders })
    assertAdvice(names, 'group_missing', ['registration', /Group ID/])
  })

  it('when the token expired, with how long ago', async () => {
    const explanation = await explain({ persona: 'alice', expiresInSeconds: -42 * 60 })
    assertAdvice(
      explanation,
      'token_expired',
      ['request', /expired 42 min ago/],
      ['clock', /check/],
    )
  })

  it('when the token expired days ago: it was kept, and no clock is that wrong', async () => {
    const explanation = await explain({ persona: 'alice', expiresInSeconds: -5 * 86_400 })
    assertAdvice(explanation, 'token_expired', ['request', /expired 5 days ago: it was kept/])
    const wheres = explanation.checks.flatMap(({ changes }) => changes.map(({ where }) => where))
    assert.deepEqual(wheres, ['request'])
  })

  for (const [name, aud] of [
    ['Microsoft Graph', '00000003-0000-0000-c000-000000000000'],
    ['Microsoft Graph', 'https://graph.microsoft.com/'],
    ['Microsoft Graph \\(US government\\)', 'https://graph.microsoft.us'],
    ['Azure Resource Manager', 'https://management.azure.com/'],
    ['Azure Key Vault', 'https://vault.azure.net'],
    ['Azure DevOps', '499b84ac-1321-427f-aa17-267ca6975798'],
  ] as const) {
    it(`when the token is for ${aud}`, async () => {
      const explanation = await explain({ persona: 'alice', claims: { aud } })
      assertAdvice(explanation, 'audience_mismatch', [
        'request',
        new RegExp(`asked for ${name}\\. Ask for ${ordersId}/Orders.Read instead`),
      ])
      assert.equal(explanation.checks.flatMap(({ changes }) => changes).length, 1)
    })
  }

  it('when "audiences" has the tenant id', async () => {
    for (const audience of [contoso, `api://${contoso}`]) {
      const explanation = await explain({ persona: 'alice' }, { orders: policyOf(audience, user) })
      assertAdvice(explanation, 'audience_mismatch', [
        'policy',
        new RegExp(`^${audience} in "audiences".*id of the tenant.*Write ${ordersId} in its place`),
      ])
      assert.equal(explanation.checks.flatMap(({ changes }) => changes).length, 1)
    }
  })

  it('when "tenants" has the client id of the API or of the client in place of a tenant', async () => {
    const token = await authority.issue({ persona: 'mallory' })
    const { azp } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
    for (const [id, what] of [
      [ordersId, 'the client id of the API \\(aud\\)'],
      [azp, 'the client id \\(azp\\)'],
    ]) {
      const tenants = `wrong: { id: ${id}, authority: "${authority.origin}" }`
      const explanation = await explain(token, { tenants })
      assertAdvice(explanation, 'tenant_not_allowed', [
        'configuration',
        new RegExp(
          `id of the tenant wrong.* is ${what} of the token.*Write ${fabrikam} in its place`,
        ),
      ])
    }
  })

  it('when the clock of this machine is slow', async () => {
    const nowMs = Date.now() - 20 * 60_000
    const explanation = await explain({ persona: 'alice' }, { nowMs })
    assertAdvice(explanation, 'token_not_yet_valid', ['clock', /in 15 min.*slow.*[Cc]ompare/s])
  })

  it('when guests are refused and the token does not say', async () => {
    const orders = policyOf(ordersId, '{ actor: user, scopes: [Orders.Read], guests: false }')
    const silent = await explain({ persona: 'alice', removeClaims: ['acct'] }, { orders })
    assertAdvice(silent, 'guest_not_allowed', ['registration', /optional claim acct/])
    const guest = await explain({ persona: 'gina' }, { orders })
    assertAdvice(guest, 'guest_not_allowed', ['policy', /guests: false/])
  })

  it('when the tenant is not configured, and when the policy does not admit it', async () => {
    const unknown = await explain({ persona: 'mallory' })
    assertAdvice(
      unknown,
      'tenant_not_allowed',
      ['request', new RegExp(`contoso \\(${contoso}\\)`)],
      ['configuration', new RegExp(fabrikam)],
    )
    const tenants = `fabrikam: { id: ${fabrikam}, authority: "${authority.origin}" }`
    const orders = policyOf(ordersId, user, 'tenants: [contoso]')
    const excluded = await explain({ persona: 'mallory' }, { orders, tenants })
    assertAdvice(excluded, 'tenant_not_allowed', ['policy', /add the tenant fabrikam/])
  })

  it('when the API signs with its own key', async () => {
    const mapped = '88888888-8888-4888-8888-888888888888'
    const orders = policyOf(mapped, '{ actor: user, scopes: [Mapped.Read] }')
    const explanation = await explain({ persona: 'alice', audience: mapped }, { orders })
    assertAdvice(explanation, 'key_unknown', ['configuration', new RegExp(`appId: ${mapped}`)])
  })

  it('when the authority cannot be read', async () => {
    const token = await authority.issue({ persona: 'alice' })
    await authority.fault('metadata', '500')
    const explanation = await explain(token).finally(authority.reset)
    assertAdvice(explanation, 'keys_unavailable', ['network', /openid-configuration/])
    assert.equal(explanation.verdict, 'unavailable')
  })

  it('when something else than a token was sent', async () => {
    assertAdvice(await explain('{"access_token":"x"}'), 'token_malformed', ['request', /jq -r/])
    for (const text of [
      '0.AXYAabc',
      '1.AXYAabc.AgABAwEAAAD',
      '1.AXYAabc.AgABAwEAAAD.x',
      'M.C535_BL2.0.U',
      'AAAAbbbbCCCC',
    ]) {
      assertAdvice(await explain(text), 'token_malformed', ['request', /opaque/])
    }
    assertAdvice(await explain('M.C535_BL2.0.U.-CqVb'), 'token_encrypted', ['request', /opaque/])
    assertAdvice(await explain('a b'), 'malformed_credentials', ['request', /line breaks/])
  })

  it('for each grant that the caller may have meant, the nearest one first', async () => {
    const orders = policyOf(ordersId, `${user}, { actor: user, roles: [Orders.Admin] }`)
    const explanation = await explain({ persona: 'bob' }, { orders })
    const changes = explanation.checks.flatMap((check) => check.changes)
    assert.deepEqual(
      [...new Set(changes.map(({ rule }) => rule))],
      ['policies.orders.allow[1]', 'policies.orders.allow[0]'],
    )
  })
})

describe('explain shows each grant', () => {
  it('with every condition that does not hold', async () => {
    const orders = policyOf(
      ordersId,
      `{ actor: user, scopes: [Orders.Write], confidential: true, guests: false }, ${user}`,
    )
    const explanation = await explain({ persona: 'alice', scopes: ['Other'] }, { orders })
    const rules = explanation.checks.find(({ step }) => step === 'allow')?.rules ?? []
    assert.deepEqual(
      rules.map(({ conditions }) => conditions.map(({ name, reason }) => [name, reason])),
      [
        [
          ['actor', null],
          ['confidential', 'client_not_confidential'],
          ['scopes', 'scope_missing'],
          ['guests', null],
        ],
        [
          ['actor', null],
          ['scopes', 'scope_missing'],
        ],
      ],
    )
  })

  it('and the deny rule that holds', async () => {
    const orders = policyOf(ordersId, user, `deny: [{ roles: [X] }, { groups: [${staffGroup}] }]`)
    const explanation = await explain({ persona: 'alice' }, { orders })
    assertAdvice(explanation, 'denied_by_rule', ['policy', /policies\.orders\.deny\[1\]/])
    const rules = explanation.checks.find(({ step }) => step === 'deny')?.rules ?? []
    assert.deepEqual(
      rules.map(({ holds }) => holds),
      [false, true],
    )
  })
})
