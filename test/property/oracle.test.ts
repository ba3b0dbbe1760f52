/**
 * The service against an independent verifier: whatever jose refuses, the service refuses. It may
 * refuse more, since it knows Entra's rules. `ORACLE_RUNS` asks for more tokens than usual; fast-check
 * prints the seed of a failure.
 */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { errors, type JWTHeaderParameters, jwtVerify } from 'jose'
import { tenantKey } from '../support/authority.ts'
import { appIdUri, ids, startSeconds as now } from '../support/ids.ts'
import { fc } from '../support/property.ts'
import { startService, verify } from '../support/service.ts'
import { impostorOf, jwkOf } from '../support/signing-keys.ts'
import {
  base64url,
  type Members,
  managedIdentity,
  readToken,
  signSegments,
  signTexts,
  signWith,
  v1User,
  v2Agent,
  v2App,
  v2User,
} from '../support/tokens.ts'

const runs = Number(process.env.ORACLE_RUNS ?? 20_000)
/** Part of the runs that travels over HTTP. */
const httpRuns = Math.floor(runs / 10)

const service = await startService({
  policy: {
    allow: [
      { actor: 'user', scopes: 'any' },
      { actor: 'app', roles: 'any' },
      { actor: 'agent', scopes: 'any' },
    ],
  },
})
after(() => service.close())

const key = tenantKey(ids.contoso)
const impostor = impostorOf(key)
const issuers = {
  v1: `https://sts.windows.net/${ids.contoso}/`,
  v2: `https://login.microsoftonline.com/${ids.contoso}/v2.0`,
}

/** What jose says; it knows the one key of the tenant and nothing of Entra. */
async function joseAccepts(token: string): Promise<boolean> {
  const findKey = ({ kid }: JWTHeaderParameters) => {
    if (kid !== key.id) throw new errors.JWKSNoMatchingKey()
    return key.publicKey
  }
  try {
    await jwtVerify(token, findKey, {
      algorithms: ['RS256'],
      issuer: [issuers.v1, issuers.v2],
      audience: [ids.api, appIdUri],
      clockTolerance: 300,
      requiredClaims: ['iss', 'aud', 'exp', 'iat', 'sub', 'tid', 'oid', 'ver'],
      currentDate: new Date(service.time.nowMs),
    })
    return true
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof TypeError) return false
    throw error
  }
}

const bases = [v2User(), v1User(), v2App(), managedIdentity(), v2Agent()].map(readToken)

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const oddValues = [
  null,
  true,
  false,
  0,
  1,
  -1,
  1.5,
  1e300,
  '',
  ' ',
  'x',
  '__proto__',
  [],
  [null],
  ['x'],
  {},
  { a: 1 },
  '\u0000',
  '\u00e9',
]
const times = [
  0, 1, -1, 299, 300, 301, -299, -300, -301, 3_600, -3_600, 86_400, 90_001, 1e9, -1e9,
].map((seconds) => now + seconds)
const strings = [
  ids.api,
  ids.api.toUpperCase(),
  appIdUri,
  ids.otherApi,
  ids.contoso,
  ids.fabrikam,
  ids.stranger,
  ids.client,
  ids.user,
  issuers.v1,
  issuers.v2,
  issuers.v1.slice(0, -1),
  `${issuers.v2}/`,
  issuers.v2.replace('.com', '.com.evil.test'),
  issuers.v2.replace(ids.contoso, ids.stranger),
  '1.0',
  '2.0',
  '3.0',
  'app',
  'user',
  'Orders.Read',
  '/',
  '11',
]
const value = fc.oneof(
  fc.constantFrom<unknown>(...oddValues),
  fc.constantFrom<unknown>(...times, ...times.map(String)),
  fc.constantFrom<unknown>(...strings),
  fc.constantFrom<unknown>(...strings.map((text) => [text])),
  fc.jsonValue({ maxDepth: 3 }),
  fc.string({ unit: 'binary' }),
)
const claimName = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom('iss', 'aud', 'exp', 'iat', 'nbf', 'tid', 'oid', 'sub', 'ver'),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      'scp',
      'roles',
      'groups',
      'azp',
      'appid',
      'idtyp',
      'cnf',
      'acct',
      'uti',
      'azpacr',
      'xms_act_fct',
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('__proto__', 'constructor', 'TID', 'Iss', 'EXP', '', 'crit'),
  },
  { weight: 1, arbitrary: fc.string() },
)
const headerEdit = fc.oneof(
  fc.tuple(
    fc.constant('alg'),
    fc.constantFrom<unknown>(
      'none',
      'None',
      'HS256',
      'RS384',
      'RS512',
      'PS256',
      'ES256',
      'EdDSA',
      'rs256',
      '',
      null,
      ['RS256'],
    ),
  ),
  fc.tuple(
    fc.constant('kid'),
    fc.constantFrom<unknown>(
      undefined,
      '',
      'unknown',
      tenantKey(ids.fabrikam).id,
      `${key.id} `,
      1,
      null,
      [key.id],
    ),
  ),
  fc.tuple(
    fc.constant('typ'),
    fc.constantFrom<unknown>(undefined, 'jwt', 'at+jwt', 'JWE', '', 1, null),
  ),
  fc.tuple(
    fc.constant('crit'),
    fc.constantFrom<unknown>(['exp'], ['b64'], [], 'exp', null, [1], {}),
  ),
  fc.tuple(fc.constant('b64'), fc.constantFrom<unknown>(true, false, null)),
  fc.tuple(fc.constant('jwk'), fc.constant<unknown>(jwkOf(impostor))),
  fc.tuple(fc.constantFrom('jku', 'x5u'), fc.constant<unknown>('https://evil.test/keys')),
  fc.tuple(
    fc.constantFrom('nonce', 'enc', 'zip', 'x', '__proto__', 'KID', 'Alg'),
    fc.constantFrom<unknown>('x', null, {}),
  ),
)

type Signer =
  | 'genuine'
  | 'impostor'
  | 'other tenant'
  | 'HS256'
  | 'HS256 as RS256'
  | 'PS256'
  | 'RS512'
  | 'none'

interface Plan {
  readonly base: { header: Members; claims: Members }
  readonly headerEdits: readonly (readonly [string, unknown])[]
  readonly claimEdits: readonly (readonly [string, unknown])[]
  readonly duplicate:
    | { where: 'header' | 'claims'; name: string; value: unknown; first: boolean }
    | undefined
  readonly signer: Signer
  readonly segmentEdit: SegmentEdit | undefined
  readonly textEdits: readonly TextEdit[]
}

type SegmentEdit =
  | 'pad header'
  | 'pad claims'
  | 'base64'
  | 'space'
  | 'trailing bits'
  | 'byte order mark'
  | 'latin1'
type TextEdit = readonly [
  kind: 'replace' | 'insert' | 'remove' | 'cut' | 'repeat' | 'dot' | 'swap' | 'pad' | 'bits',
  at: number,
  character: string,
]

const few = <T>(arbitrary: fc.Arbitrary<T>, weightOfNone: number) =>
  fc.oneof(
    { weight: weightOfNone, arbitrary: fc.constant<T[]>([]) },
    { weight: 4, arbitrary: fc.array(arbitrary, { minLength: 1, maxLength: 2 }) },
  )

const plan: fc.Arbitrary<Plan> = fc.record({
  base: fc.constantFrom(...bases),
  headerEdits: few(headerEdit, 16),
  claimEdits: few(
    fc.tuple(claimName, fc.oneof({ weight: 5, arbitrary: value }, fc.constant(undefined))),
    5,
  ),
  duplicate: fc.oneof(
    { weight: 14, arbitrary: fc.constant(undefined) },
    {
      weight: 1,
      arbitrary: fc.record({
        where: fc.constantFrom('header', 'claims'),
        name: fc.constantFrom('alg', 'kid', 'iss', 'aud', 'exp', 'tid', 'scp', 'ver'),
        value,
        first: fc.boolean(),
      }),
    },
  ),
  signer: fc.oneof(
    { weight: 12, arbitrary: fc.constant<Signer>('genuine') },
    {
      weight: 2,
      arbitrary: fc.constantFrom<Signer>(
        'impostor',
        'other tenant',
        'HS256',
        'HS256 as RS256',
        'PS256',
        'RS512',
        'none',
      ),
    },
  ),
  segmentEdit: fc.oneof(
    { weight: 12, arbitrary: fc.constant(undefined) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<SegmentEdit>(
        'pad header',
        'pad claims',
        'base64',
        'space',
        'trailing bits',
        'byte order mark',
        'latin1',
      ),
    },
  ),
  textEdits: few(
    fc.tuple(
      fc.constantFrom('replace', 'insert', 'remove', 'cut', 'repeat', 'dot', 'swap', 'pad', 'bits'),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.oneof(fc.constantFrom(...alphabet), fc.constantFrom('=', '+', '/', '.', '%', '!', '~')),
    ),
    8,
  ),
})

/** The token of a plan. */
function tokenOf(mutation: Plan): string {
  const header = Object.fromEntries([
    ...Object.entries(mutation.base.header),
    ...mutation.headerEdits,
  ])
  const claims = Object.fromEntries([
    ...Object.entries(mutation.base.claims),
    ...mutation.claimEdits,
  ])
  const token = signAs(
    mutation,
    withDuplicate(header, 'header', mutation),
    withDuplicate(claims, 'claims', mutation),
  )
  return mutation.textEdits.reduce(editText, token)
}

function withDuplicate(members: Members, where: 'header' | 'claims', { duplicate }: Plan): string {
  const text = JSON.stringify(members)
  if (duplicate?.where !== where) return text
  const member = `${JSON.stringify(duplicate.name)}:${JSON.stringify(duplicate.value ?? null)}`
  // By position: `replace` would give a `$` in the member a meaning.
  return duplicate.first ? `{${member},${text.slice(1)}` : `${text.slice(0, -1)},${member}}`
}

function signAs({ signer, segmentEdit }: Plan, headerText: string, claimsText: string): string {
  const pem = key.publicKey.export({ type: 'spki', format: 'pem' }) as string
  switch (signer) {
    case 'HS256':
    case 'PS256':
    case 'RS512':
      return signWith(
        signer,
        JSON.parse(headerText),
        JSON.parse(claimsText),
        signer === 'HS256' ? pem : key.privateKey,
      )
    case 'HS256 as RS256': {
      const [, , signature] = signWith(
        'HS256',
        JSON.parse(headerText),
        JSON.parse(claimsText),
        pem,
      ).split('.')
      return `${base64url(headerText)}.${base64url(claimsText)}.${signature}`
    }
    case 'none':
      return `${base64url(headerText)}.${base64url(claimsText)}.`
    case 'impostor':
      return signTexts(headerText, claimsText, impostor)
    case 'other tenant':
      return signTexts(headerText, claimsText, tenantKey(ids.fabrikam))
    case 'genuine':
      break
  }
  const [header, claims] = [base64url(headerText), base64url(claimsText)]
  switch (segmentEdit) {
    case 'pad header':
      return signSegments(`${header}=`, claims, key)
    case 'pad claims':
      return signSegments(header, `${claims}==`, key)
    case 'base64':
      return signSegments(header, Buffer.from(claimsText).toString('base64'), key)
    case 'space':
      return signSegments(header, `${claims.slice(0, 40)} ${claims.slice(40)}`, key)
    case 'trailing bits':
      return signSegments(header, nextSpelling(claims), key)
    case 'byte order mark':
      return signSegments(header, base64url(`\ufeff${claimsText}`), key)
    case 'latin1':
      return signSegments(
        header,
        base64url(Buffer.from(claimsText.replace('Adele', 'Ad\u00e8le'), 'latin1')),
        key,
      )
    case undefined:
      return signSegments(header, claims, key)
  }
}

function editText(token: string, [kind, place, character]: TextEdit): string {
  const at = Math.floor(place * token.length)
  const [before, rest] = [token.slice(0, at), token.slice(at)]
  switch (kind) {
    case 'replace':
      return before + character + rest.slice(1)
    case 'insert':
      return before + character + rest
    case 'remove':
      return before + rest.slice(1)
    case 'cut':
      return before
    case 'repeat':
      return before + rest + rest
    case 'dot':
      return `${before}.${rest}`
    case 'swap': {
      const [a, b, c] = token.split('.')
      return [b, a, c].join('.')
    }
    case 'pad':
      return `${token}=`
    case 'bits':
      return nextSpelling(token)
  }
}

/** The same bytes in another spelling where the last character has unused bits. */
function nextSpelling(segment: string): string {
  const index = alphabet.indexOf(segment.slice(-1))
  return segment.slice(0, -1) + (alphabet[index + 1] ?? 'A')
}

const tally = { bothAccept: 0, bothRefuse: 0, onlyServiceRefuses: 0 }

async function assertNoLooserThanJose(
  token: string,
  statusOf: (token: string) => Promise<number>,
): Promise<void> {
  const [accepted, status] = [await joseAccepts(token), await statusOf(token)]
  assert.ok(status < 500, `the service answered ${status}`)
  if (status !== 200) {
    tally[accepted ? 'onlyServiceRefuses' : 'bothRefuse']++
    return
  }
  assert.ok(accepted, 'the service admits what jose refuses')
  tally.bothAccept++
}

async function statusInProcess(token: string): Promise<number> {
  const { statusCode } = await service.app.verify.inject({
    url: '/verify/default',
    headers: { authorization: `Bearer ${token}` },
  })
  return statusCode
}

async function statusOverHttp(token: string): Promise<number> {
  const { status } = await verify(service, 'default', token)
  return status
}

describe('the service beside jose', () => {
  it('agrees on each token that is not mutated', async () => {
    for (const token of [v2User(), v1User(), v2App(), managedIdentity(), v2Agent()]) {
      assert.equal(await joseAccepts(token), true)
      assert.equal(await statusInProcess(token), 200)
    }
  })
  it('admits over HTTP nothing that jose refuses', () =>
    fc.assert(
      fc.asyncProperty(plan, (mutation) =>
        assertNoLooserThanJose(tokenOf(mutation), statusOverHttp),
      ),
      { numRuns: httpRuns },
    ))
  it('admits in process nothing that jose refuses', () =>
    fc.assert(
      fc.asyncProperty(plan, (mutation) =>
        assertNoLooserThanJose(tokenOf(mutation), statusInProcess),
      ),
      { numRuns: runs - httpRuns },
    ))
  it('saw enough of each outcome for that to mean something', () => {
    const { bothAccept, bothRefuse, onlyServiceRefuses } = tally
    assert.equal(bothAccept + bothRefuse + onlyServiceRefuses, runs)
    assert.ok(bothAccept > runs / 50, `both accept ${bothAccept}`)
    assert.ok(bothRefuse > runs / 4, `both refuse ${bothRefuse}`)
    assert.ok(onlyServiceRefuses > runs / 50, `only the service refuses ${onlyServiceRefuses}`)
  })
  it('kept its good keys through all of it', async () => {
    assert.equal(await statusOverHttp(v2User({ uti: 'after the mutations' })), 200)
    assert.deepEqual(
      service.log.filter((line) => JSON.parse(line).level >= 50),
      [],
    )
  })
})

describe('the Authorization header', () => {
  it('never gets an allow or a server error, whatever it contains', () =>
    fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 200 }), async (text) => {
        const status = await statusInProcess(text)
        assert.ok(status >= 400 && status < 500)
      }),
      { numRuns: 2_000 },
    ))
})
