import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { personas } from '../../src/dev-entra/personas.ts'
import {
  contoso,
  fabrikam,
  getJson,
  nowMs,
  nowSeconds,
  order,
  ordersId,
  origin,
  post,
  startDevEntra,
} from './support.ts'

const frame = ['aud', 'iss', 'iat', 'nbf', 'exp', 'aio', 'oid', 'rh', 'sub', 'tid', 'uti', 'ver']
const user2 = [...frame, 'acct', 'azp', 'azpacr', 'name', 'preferred_username', 'sid', 'xms_ftd']
const user1 = [
  ...frame,
  ...['acct', 'acr', 'amr', 'appid', 'appidacr', 'family_name', 'given_name', 'ipaddr', 'name'],
  ...['sid', 'unique_name', 'upn', 'xms_ftd'],
]
const app2 = [...frame, 'azp', 'azpacr', 'idtyp', 'xms_ftd']
const agent = ['idtyp', 'xms_act_fct', 'xms_sub_fct', 'xms_par_app_azp']

const shapes: [persona: string, wishes: object, claims: string[]][] = [
  ['alice', {}, [...user2, 'scp', 'groups']],
  ['alice', { version: '1.0' }, [...user1, 'scp', 'groups']],
  ['bob', {}, [...user2, 'scp']],
  ['carol', {}, [...user2, 'scp', 'roles']],
  ['gina', {}, [...user2, 'scp', 'email', 'idp']],
  ['gina', { version: '1.0' }, [...user1.filter((c) => c !== 'upn'), 'scp', 'email', 'idp']],
  ['mallory', {}, [...user2, 'scp']],
  ['groups200', {}, [...user2, 'scp', 'groups']],
  ['many', {}, [...user2, 'scp', '_claim_names', '_claim_sources']],
  ...['uwe', 'layla', 'dora', 'cora', 'kurt', 'erik', 'mona', 'nina'].map(
    (persona): [string, object, string[]] => [persona, {}, [...user2, 'scp']],
  ),
  ['robot', {}, [...app2, 'roles']],
  [
    'robot',
    { version: '1.0' },
    [...frame, 'appid', 'appidacr', 'idp', 'idtyp', 'roles', 'xms_ftd'],
  ],
  ['idle', {}, app2],
  ['managed-identity', {}, [...frame, 'appid', 'appidacr', 'idp', 'roles', 'xms_mirid', 'xms_ftd']],
  ['agent', {}, [...user2, 'scp', ...agent]],
  ['agent-user', {}, [...user2, 'scp', ...agent]],
  ['agent-autonomous', {}, [...app2, 'roles', 'scp', ...agent.filter((c) => c !== 'idtyp')]],
  ['alice', { idToken: true }, [...frame, 'name', 'preferred_username', 'sid', 'groups']],
  [
    'alice',
    { idToken: true, version: '1.0' },
    [
      ...frame,
      ...['amr', 'family_name', 'given_name', 'ipaddr', 'name', 'sid', 'unique_name', 'upn'],
      'groups',
    ],
  ],
]

for (const [persona, wishes, claims] of shapes) {
  test(`${persona} ${JSON.stringify(wishes)} has exactly the claims of its kind`, async (t) => {
    const issued = await order(startDevEntra(t), { persona, ...wishes })
    assert.deepEqual(Object.keys(issued.claims).sort(), [...claims].sort())
  })
}

test('every persona is in the list of claim shapes', () => {
  const covered = new Set(shapes.map(([persona]) => persona))
  assert.deepEqual(
    personas.map(({ name }) => name).filter((name) => !covered.has(name)),
    [],
  )
})

test('personas differ in their ids, but for the agent that acts for alice', () => {
  const oids = personas.filter(({ name }) => name !== 'agent').map(({ oid }) => oid)
  assert.equal(new Set(oids).size, oids.length)
})

async function verify(t: TestContext, version: '1.0' | '2.0') {
  const app = startDevEntra(t)
  const { token } = await order(app, { persona: 'alice', version })
  const path = version === '1.0' ? '' : 'v2.0/'
  const metadata = await getJson(app, `/${contoso}/${path}.well-known/openid-configuration`)
  const keys = await getJson(app, new URL(metadata.jwks_uri).pathname)
  return jwtVerify(token, createLocalJWKSet(keys), {
    issuer: metadata.issuer,
    audience: version === '1.0' ? 'api://orders' : ordersId,
    algorithms: ['RS256'],
    currentDate: new Date(nowMs),
  })
}

test('a v2.0 token verifies with what v2.0 discovery says', async (t) => {
  const { payload } = await verify(t, '2.0')
  assert.equal(payload.iss, `${origin}/${contoso}/v2.0`)
})

test('a v1.0 token verifies with what v1.0 discovery says', async (t) => {
  const { payload } = await verify(t, '1.0')
  assert.equal(payload.iss, `${origin}/${contoso}/`)
})

test('the header names the key once in v2.0 and twice in v1.0', async (t) => {
  const app = startDevEntra(t)
  const v2 = (await order(app, { persona: 'alice' })).header
  const v1 = (await order(app, { persona: 'alice', version: '1.0' })).header
  assert.deepEqual(v2, { typ: 'JWT', alg: 'RS256', kid: v2.kid })
  assert.deepEqual(v1, { typ: 'JWT', alg: 'RS256', x5t: v2.kid, kid: v2.kid })
})

test('times are dated five minutes back and the lifetime is 60 to 90 minutes', async (t) => {
  const app = startDevEntra(t)
  const { iat, nbf, exp } = (await order(app, { persona: 'alice' })).claims
  assert.deepEqual([iat, nbf], [nowSeconds - 300, nowSeconds - 300])
  assert.ok(exp >= nowSeconds + 3600 && exp < nowSeconds + 5400, String(exp - nowSeconds))
})

test('a managed identity gets a token for 24 hours, 24 h 5 min in its dates', async (t) => {
  const { iat, exp } = (await order(startDevEntra(t), { persona: 'managed-identity' })).claims
  assert.equal(exp - iat, 24 * 3600 + 300)
})

test('an expired token was issued before it expired', async (t) => {
  const wishes = { persona: 'alice', expiresInSeconds: -301 }
  const { iat, exp } = (await order(startDevEntra(t), wishes)).claims
  assert.equal(exp, nowSeconds - 301)
  assert.equal(iat, exp - 3900)
})

test('sub is the oid for applications only, and pairwise for users', async (t) => {
  const app = startDevEntra(t)
  const { claims: robot } = await order(app, { persona: 'robot' })
  const { claims: alice } = await order(app, { persona: 'alice' })
  const { claims: elsewhere } = await order(app, { persona: 'alice', audience: 'api://mapped' })
  const { claims: older } = await order(app, { persona: 'alice', version: '1.0' })
  assert.equal(robot.sub, robot.oid)
  assert.notEqual(alice.sub, alice.oid)
  assert.notEqual(alice.sub, elsewhere.sub)
  assert.equal(alice.sub, older.sub)
})

test('uti differs from token to token', async (t) => {
  const app = startDevEntra(t)
  const [first, second] = [
    await order(app, { persona: 'alice' }),
    await order(app, { persona: 'alice' }),
  ]
  assert.match(first.claims.uti, /^[\w-]{22}$/)
  assert.notEqual(first.claims.uti, second.claims.uti)
})

test('200 groups are in the token, 201 are replaced by an overage marker', async (t) => {
  const app = startDevEntra(t)
  const { claims: fits } = await order(app, { persona: 'groups200' })
  const { claims: many } = await order(app, { persona: 'many' })
  assert.equal(fits.groups.length, 200)
  assert.deepEqual(many._claim_names, { groups: 'src1' })
  assert.match(
    many._claim_sources.src1.endpoint,
    /^https:\/\/graph\.windows\.net\/.*MemberObjects$/,
  )
})

test('a guest has acct 1 and the identity provider of home', async (t) => {
  const { claims } = await order(startDevEntra(t), { persona: 'gina' })
  assert.equal(claims.acct, 1)
  assert.equal(claims.tid, contoso)
  assert.equal(claims.idp, `${origin}/${fabrikam}/`)
})

test('agents say so in their facets', async (t) => {
  const app = startDevEntra(t)
  const facets = async (persona: string) => {
    const { claims } = await order(app, { persona })
    const has = (name: string, facet: string) => String(claims[name]).split(' ').includes(facet)
    return [claims.idtyp, has('xms_act_fct', '11'), has('xms_sub_fct', '11'), claims.scp]
  }
  assert.deepEqual(await facets('agent'), ['user', true, false, 'Orders.Read'])
  assert.deepEqual(await facets('agent-autonomous'), ['app', true, true, '/'])
  const { claims } = await order(app, { persona: 'agent-user' })
  assert.ok(claims.xms_sub_fct.split(' ').includes('13'))
})

test('azpacr tells public clients, secrets and certificates apart', async (t) => {
  const app = startDevEntra(t)
  const proof = async (persona: string) => (await order(app, { persona })).claims.azpacr
  const proofs = await Promise.all(['alice', 'carol', 'agent-autonomous'].map(proof))
  assert.deepEqual(proofs, ['0', '1', '2'])
})

test('the audience is a GUID in v2.0, the URI in v1.0, and unchanged if it is unknown', async (t) => {
  const app = startDevEntra(t)
  const audience = async (wishes: object) =>
    (await order(app, { persona: 'alice', ...wishes })).claims.aud
  assert.equal(await audience({ audience: 'api://orders' }), ordersId)
  assert.equal(await audience({ audience: 'api://orders', version: '1.0' }), 'api://orders')
  assert.equal(await audience({ audience: ordersId, version: '1.0' }), ordersId)
  assert.equal(await audience({ version: '1.0' }), 'api://orders')
  assert.equal(await audience({ audience: 'api://other' }), 'api://other')
})

test('the API picks the version of the token', async (t) => {
  const { claims } = await order(startDevEntra(t), { persona: 'alice', audience: 'api://billing' })
  assert.deepEqual([claims.ver, claims.aud], ['1.0', 'api://billing'])
})

test('wishes replace scopes, roles, claims, header and tenant', async (t) => {
  const { claims, header } = await order(startDevEntra(t), {
    persona: 'alice',
    tenant: 'fabrikam',
    scopes: ['A', 'B'],
    roles: ['R'],
    claims: { acrs: ['c1'], oid: 7 },
    removeClaims: ['uti'],
    header: { typ: 'at+jwt' },
    removeHeader: ['kid'],
  })
  assert.deepEqual(
    [claims.scp, claims.roles, claims.acrs, claims.oid, claims.uti],
    ['A B', ['R'], ['c1'], 7, undefined],
  )
  assert.deepEqual([claims.tid, claims.iss], [fabrikam, `${origin}/${fabrikam}/v2.0`])
  assert.deepEqual(header, { typ: 'at+jwt', alg: 'RS256' })
})

test('an empty scope list leaves scp out', async (t) => {
  const { claims } = await order(startDevEntra(t), { persona: 'alice', scopes: [] })
  assert.equal('scp' in claims, false)
})

test('a persona is found by its alias and by its user principal name', async (t) => {
  const app = startDevEntra(t)
  const oid = async (persona: string) => (await order(app, { persona })).claims.oid
  const carol = await oid('carol')
  assert.equal(await oid('admin'), carol)
  assert.equal(await oid('carol@contoso.onmicrosoft.com'), carol)
})

const refused: [string, object, RegExp][] = [
  ['an unknown persona', { persona: 'nobody' }, /no persona "nobody"/],
  ['an object prototype as persona', { persona: 'constructor' }, /no persona/],
  ['an ID token for an application', { persona: 'robot', idToken: true }, /only users/],
  ['an unknown tenant', { persona: 'alice', tenant: 'acme' }, /no tenant "acme"/],
  ['an unknown wish', { persona: 'alice', adience: 'x' }, /additional properties/],
  ['a wish of the wrong type', { persona: 'alice', expiresInSeconds: '5' }, /must be integer/],
  ['an unknown key', { persona: 'alice', key: 'any' }, /must match pattern/],
]
for (const [what, body, message] of refused) {
  test(`refuses ${what}`, async (t) => {
    const reply = await post(startDevEntra(t), '/dev/token', body)
    assert.equal(reply.statusCode, 400)
    assert.match(reply.json().message, message)
  })
}

test('External ID issues v2.0 tokens only', async (t) => {
  const app = startDevEntra(t, { flavour: 'external-id' })
  assert.equal((await order(app, { persona: 'alice' })).claims.ver, '2.0')
  assert.equal((await order(app, { persona: 'managed-identity' })).claims.ver, '2.0')
  const reply = await post(app, '/dev/token', { persona: 'alice', version: '1.0' })
  assert.equal(reply.statusCode, 400)
})
