import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { importKey, type KeyOwner } from '../../src/keys/key.ts'
import { createKeyring, EmptyKeySetError, isUsable, type Keyring } from '../../src/keys/keyring.ts'
import { ids } from '../support/ids.ts'
import { impostorOf, type Jwk, jwkOf, signingKey } from '../support/signing-keys.ts'

const owner: KeyOwner = {
  issuer: `https://login.microsoftonline.com/${ids.contoso}/v2.0`,
  tenantId: ids.contoso,
  cloudInstanceName: 'microsoftonline.com',
}
const hourMs = 3_600_000
const [a, b, c] = [signingKey('a'), signingKey('b'), signingKey('c')].map((key) => jwkOf(key)) as [
  Jwk,
  Jwk,
  Jwk,
]

function filled(...keys: Jwk[]): Keyring {
  const keyring = createKeyring()
  keyring.merge(keys, owner, 0)
  return keyring
}

function keyOf(keyring: Keyring, id: string, nowMs = 0) {
  const found = keyring.get(id, nowMs)
  assert.ok(found?.ok, `${id} is not usable`)
  return found.value
}

function failureOf(keyring: Keyring, id: string, nowMs = 0) {
  const found = keyring.get(id, nowMs)
  return found && !found.ok ? found.failure : undefined
}

describe('a key set', () => {
  it('adds its keys and reports them', () => {
    const keyring = createKeyring()
    assert.deepEqual(keyring.merge([a, b], owner, 0), {
      added: ['a', 'b'],
      withdrawn: [],
      rejected: [],
    })
    assert.equal(keyring.size, 2)
    assert.match(keyOf(keyring, 'a').pem, /^-----BEGIN PUBLIC KEY-----/)
  })
  it('is merged: a key that it lacks stays', () => {
    const keyring = filled(a)
    assert.deepEqual(keyring.merge([b], owner, 1).added, ['b'])
    assert.equal(keyOf(keyring, 'a', 1).withdrawn, false)
  })
  it('confirms a known key without adding it again', () => {
    const keyring = filled(a)
    const key = keyOf(keyring, 'a')
    assert.deepEqual(keyring.merge([a], owner, 500).added, [])
    assert.equal(keyOf(keyring, 'a', 500), key)
    assert.equal(key.lastSeenMs, 500)
  })
  it('that was read earlier does not set a confirmation back', () => {
    const keyring = createKeyring()
    keyring.merge([a], owner, 500)
    keyring.merge([a], owner, 400)
    assert.equal(keyOf(keyring, 'a', 500).lastSeenMs, 500)
  })
  const noneUsable = (reasons: string) => `the key set has no usable key; ${reasons}`
  for (const [name, set, message] of [
    ['empty', [], 'the key set is empty'],
    [
      'of unusable keys only',
      [
        { ...a, use: 'enc' },
        { ...b, issuer: 'x' },
      ],
      noneUsable('2 rejected: key_unusable, key_not_for_issuer'),
    ],
    [
      'of ambiguous keys only',
      [a, jwkOf(impostorOf(signingKey('a')))],
      noneUsable('2 rejected: key_unusable'),
    ],
    ['of rubbish', [null, 1, 'x', [], {}], noneUsable('5 rejected: key_unusable')],
  ] as const) {
    it(`${name} is an error and changes nothing`, () => {
      const keyring = filled(a)
      assert.throws(
        () => keyring.merge(set, owner, 1),
        (error) => error instanceof EmptyKeySetError && error.message === message,
      )
      assert.equal(keyOf(keyring, 'a', 1).withdrawn, false)
      assert.equal(keyring.size, 1)
    })
  }
  it('reports what it does not use, with the reason', () => {
    const report = createKeyring().merge(
      [
        a,
        null,
        { kty: 'RSA' },
        jwkOf(signingKey('b'), { use: 'enc' }),
        jwkOf(signingKey('c'), { issuer: 'https://other.test' }),
      ],
      owner,
      0,
    )
    assert.deepEqual(report.rejected, [
      { id: undefined, failure: 'key_unusable' },
      { id: undefined, failure: 'key_unusable' },
      { id: 'b', failure: 'key_unusable' },
      { id: 'c', failure: 'key_not_for_issuer' },
    ])
  })
  it('of more than a hundred keys is cut there', () => {
    const keyring = createKeyring()
    const many = Array.from({ length: 150 }, (_, i) => ({ ...a, kid: `k${i}` }))
    keyring.merge(many, owner, 0)
    assert.equal(keyring.size, 100)
    assert.equal(keyring.get('k100', 0), undefined)
  })
  it('is not looked at beyond a hundred', () => {
    const many = Array.from({ length: 101 }, (_, i) => ({ ...a, kid: `k${i}` }))
    const set = [...many.slice(0, 100), { ...many[100], use: 'enc' }]
    assert.deepEqual(createKeyring().merge(set, owner, 0).rejected, [])
  })
  it('cannot grow the keyring beyond a hundred by and by', () => {
    const keyring = createKeyring()
    keyring.merge(
      Array.from({ length: 100 }, (_, i) => ({ ...a, kid: `k${i}` })),
      owner,
      0,
    )
    assert.deepEqual(keyring.merge([b], owner, 1).added, [])
    assert.equal(keyring.size, 100)
  })
})

describe('a key of an issuer', () => {
  const accepted = (members: Record<string, unknown>, of = owner) => {
    const keyring = createKeyring()
    keyring.merge([a, { ...b, ...members }], of, 0)
    return keyring.get('b', 0)?.ok === true
  }
  it('may name the issuer, plainly or with the placeholder', () => {
    assert.equal(accepted({ issuer: owner.issuer }), true)
    assert.equal(accepted({ issuer: owner.issuer.replace(ids.contoso, '{tenantid}') }), true)
  })
  it('may have the placeholder in host and path, as External ID writes it', () => {
    const issuer = `https://${ids.contoso}.ciamlogin.com/${ids.contoso}/v2.0`
    const template = 'https://{tenantid}.ciamlogin.com/{tenantid}/v2.0'
    assert.equal(accepted({ issuer: template }, { ...owner, issuer }), true)
  })
  it('may name nobody', () => assert.equal(accepted({}), true))
  for (const issuer of [
    owner.issuer.replace(ids.contoso, ids.consumers),
    `${owner.issuer}/`,
    '{tenantid}',
    '',
    null,
    1,
    [owner.issuer],
  ]) {
    it(`is refused with the issuer ${JSON.stringify(issuer)}`, () =>
      assert.equal(accepted({ issuer }), false))
  }
  it('must be of the cloud of the metadata, where it names one', () => {
    assert.equal(accepted({ cloud_instance_name: 'microsoftonline.com' }), true)
    assert.equal(accepted({ cloud_instance_name: 'microsoftonline.us' }), false)
    assert.equal(accepted({ cloud_instance_name: null }), false)
    const unnamed = { ...owner, cloudInstanceName: undefined }
    assert.equal(accepted({ cloud_instance_name: 'microsoftonline.com' }, unnamed), false)
  })
  for (const [name, members] of [
    ['no modulus', { n: undefined }],
    ['an empty modulus', { n: '' }],
    ['no exponent', { e: undefined }],
    ['a kid that is a number', { kid: 1 }],
    ['an empty kid', { kid: '' }],
    ['kty in lower case', { kty: 'rsa' }],
    ['alg null', { alg: null }],
    ['use null', { use: null }],
    ['another algorithm', { alg: 'RS512' }],
    ['another use', { use: 'enc' }],
    ['operations that are one text', { key_ops: 'verify' }],
    ['other operations', { key_ops: ['sign'] }],
    ['key_ops null', { key_ops: null }],
    ['empty key_ops', { key_ops: [] }],
  ] as const) {
    it(`is refused with ${name}`, () => assert.equal(accepted({ ...members }), false))
  }
  for (const [name, members] of [
    ['no use', { use: undefined }],
    ['the algorithm RS256', { alg: 'RS256' }],
    ['verify among its operations', { key_ops: ['wrapKey', 'verify'] }],
    ['an exponent of 3', { e: 'Aw' }],
  ] as const) {
    it(`is admitted with ${name}`, () => assert.equal(accepted({ ...members }), true))
  }
  for (const bits of [1024, 2047]) {
    it(`is refused with ${bits} bits`, () => {
      const { n } = jwkOf(signingKey(`of ${bits} bits`, bits))
      assert.equal(accepted({ n }), false)
    })
  }
  it('without an id gives none with its refusal', () => {
    assert.deepEqual(importKey({ ...a, kid: '' }, owner), {
      id: undefined,
      failure: 'key_unusable',
    })
    assert.deepEqual(importKey(undefined, owner), { id: undefined, failure: 'key_unusable' })
    assert.deepEqual(importKey({ ...a, kid: 1 }, owner), { id: undefined, failure: 'key_unusable' })
  })
})

describe('a withdrawn key', () => {
  it('is one that was absent for an hour', () => {
    const keyring = filled(a, b)
    assert.deepEqual(keyring.merge([b], owner, hourMs - 1).withdrawn, [])
    assert.equal(failureOf(keyring, 'a', hourMs - 1), undefined)
    const key = keyOf(keyring, 'a')
    assert.deepEqual(keyring.merge([b], owner, hourMs).withdrawn, ['a'])
    assert.equal(failureOf(keyring, 'a', hourMs), 'key_withdrawn')
    assert.equal(key.withdrawn, true)
    assert.equal(keyring.size, 1)
  })
  it('is reported once', () => {
    const keyring = filled(a, b)
    keyring.merge([b], owner, 1)
    assert.deepEqual(keyring.merge([b], owner, hourMs).withdrawn, ['a'])
    assert.deepEqual(keyring.merge([b], owner, 2 * hourMs).withdrawn, [])
  })
  it('is not withdrawn after an outage whose first reply lacks it, since replies differ', () => {
    const keyring = filled(a, b)
    assert.deepEqual(keyring.merge([b], owner, 5 * hourMs).withdrawn, [])
    assert.deepEqual(keyring.merge([a, b], owner, 5 * hourMs + 1).added, [])
    assert.deepEqual(keyring.merge([b], owner, 8 * hourMs).withdrawn, [])
    assert.deepEqual(keyring.merge([b], owner, 8 * hourMs + 1).withdrawn, ['a'])
  })
  it('comes back as a new key when it is published again', () => {
    const keyring = filled(a, b)
    const old = keyOf(keyring, 'a')
    keyring.merge([b], owner, 1)
    keyring.merge([b], owner, hourMs)
    assert.deepEqual(keyring.merge([a, b], owner, hourMs + 1).added, ['a'])
    assert.notEqual(keyOf(keyring, 'a', hourMs + 1), old)
    assert.equal(old.withdrawn, true)
  })
  it('is one whose key set makes it unusable, at once', () => {
    const keyring = filled(a, b)
    const key = keyOf(keyring, 'a')
    keyring.merge([jwkOf(signingKey('a'), { use: 'enc' }), b], owner, 1)
    assert.equal(failureOf(keyring, 'a', 1), 'key_unusable')
    assert.equal(key.withdrawn, true)
  })
  it('is one that another key of its id replaces', () => {
    const keyring = filled(a, b)
    const key = keyOf(keyring, 'a')
    keyring.merge([jwkOf(impostorOf(signingKey('a'))), b], owner, 1)
    assert.equal(key.withdrawn, true)
    assert.notEqual(keyOf(keyring, 'a', 1).pem, key.pem)
    assert.deepEqual(keyring.retiredSince(0), [{ id: 'a', atMs: 1 }])
  })
})

describe('the keys that were retired', () => {
  it('cost nothing to tell while there are none: each thread of HAProxy asks every second', () => {
    const [one, another] = [createKeyring(), createKeyring()]
    assert.deepEqual(one.retiredSince(0), [])
    assert.equal(one.retiredSince(0), another.retiredSince(1))
  })
  const three = () => filled(a, b, c)
  it('are told with the time of it', () => {
    const keyring = three()
    keyring.merge([b, c], owner, 1)
    keyring.merge([b, c], owner, hourMs)
    assert.deepEqual(keyring.retiredSince(hourMs), [{ id: 'a', atMs: hourMs }])
    assert.deepEqual(keyring.retiredSince(hourMs + 1), [])
  })
  it('are all of them where the keyring is cleared', () => {
    const keyring = three()
    keyring.clear(5)
    assert.deepEqual(
      keyring
        .retiredSince(0)
        .map(({ id }) => id)
        .sort(),
      ['a', 'b', 'c'],
    )
    assert.equal(keyring.size, 0)
    assert.equal(failureOf(keyring, 'a'), 'key_withdrawn')
  })
  it('are remembered for an hour, whatever happens later', () => {
    const keyring = three()
    keyring.merge([{ ...a, use: 'enc' }, b, c], owner, hourMs)
    keyring.merge([{ ...b, use: 'enc' }, c], owner, 2 * hourMs - 1)
    assert.deepEqual(
      keyring.retiredSince(0).map(({ id }) => id),
      ['a', 'b'],
    )
  })
  it('are forgotten an hour later, when another follows', () => {
    const keyring = three()
    keyring.merge([{ ...a, use: 'enc' }, b, c], owner, 1)
    keyring.merge([{ ...b, use: 'enc' }, c], owner, 1 + hourMs)
    assert.deepEqual(keyring.retiredSince(0), [{ id: 'b', atMs: 1 + hourMs }])
  })
})

describe('an unconfirmed key', () => {
  it('is one that was not read for a day', () => {
    const keyring = filled(a)
    const key = keyOf(keyring, 'a', 24 * hourMs - 1)
    assert.equal(isUsable(key, 24 * hourMs - 1), true)
    assert.equal(failureOf(keyring, 'a', 24 * hourMs), 'key_unconfirmed')
    assert.equal(isUsable(key, 24 * hourMs), false)
  })
  it('is usable again once it is read', () => {
    const keyring = filled(a)
    keyring.merge([a], owner, 25 * hourMs)
    keyOf(keyring, 'a', 25 * hourMs)
  })
})

describe('an ambiguous id', () => {
  const impostor = jwkOf(impostorOf(signingKey('a')))
  it('has two different keys, and neither is used', () => {
    assert.equal(failureOf(filled(a, impostor, b), 'a'), 'key_unusable')
  })
  it('retires the key that was known by it', () => {
    const keyring = filled(a, b)
    const key = keyOf(keyring, 'a')
    keyring.merge([a, impostor, b], owner, 1)
    assert.equal(key.withdrawn, true)
    assert.equal(failureOf(keyring, 'a', 1), 'key_unusable')
  })
  it('is none where the same key stands twice', () => {
    keyOf(filled(a, a), 'a')
  })
  it('is none where the other key could not sign tokens anyway', () => {
    keyOf(filled(a, { ...impostor, use: 'enc' }), 'a')
    keyOf(filled({ ...impostor, issuer: 'https://other.test' }, a), 'a')
  })
  it('does not affect the valid key of two, which stays in use', () => {
    const set = [a, { ...impostor, use: 'enc' }, b]
    const keyring = filled(...set)
    const key = keyOf(keyring, 'a')
    assert.deepEqual(keyring.merge(set, owner, 1), { added: [], withdrawn: [], rejected: [] })
    assert.equal(keyOf(keyring, 'a', 1), key)
    assert.equal(key.withdrawn, false)
  })
  it('is none any more once only one of them is published', () => {
    const keyring = filled(a, impostor, b)
    keyring.merge([a, b], owner, 1)
    keyOf(keyring, 'a', 1)
  })
})

describe('a single key', () => {
  it('is added beside the others', () => {
    const keyring = filled(a)
    keyring.add(b, owner, 1)
    keyOf(keyring, 'b', 1)
    assert.equal(keyring.size, 2)
  })
  it('that is unusable is remembered with its reason', () => {
    const keyring = filled(a)
    keyring.add({ ...b, use: 'enc' }, owner, 1)
    assert.equal(failureOf(keyring, 'b', 1), 'key_unusable')
  })
  it('that is unusable does not push out a key that is known', () => {
    const keyring = filled(a)
    keyring.add({ ...a, use: 'enc' }, owner, 1)
    keyOf(keyring, 'a', 1)
  })
  it('without an id is nothing', () => {
    const keyring = filled(a)
    keyring.add({ ...b, kid: undefined }, owner, 1)
    keyring.add(null, owner, 1)
    assert.equal(keyring.size, 1)
  })
  it('finds no room among a hundred', () => {
    const keyring = createKeyring()
    keyring.merge(
      Array.from({ length: 100 }, (_, i) => ({ ...a, kid: `k${i}` })),
      owner,
      0,
    )
    keyring.add(b, owner, 1)
    assert.equal(keyring.get('b', 1), undefined)
  })
})

describe('what is remembered of unusable keys', () => {
  it('is bounded: the oldest is forgotten', () => {
    const keyring = filled(a)
    for (let i = 0; i <= 100; i++) keyring.add({ ...b, kid: `k${i}`, use: 'enc' }, owner, 0)
    assert.equal(keyring.get('k0', 0), undefined)
    assert.equal(failureOf(keyring, 'k1'), 'key_unusable')
    assert.equal(failureOf(keyring, 'k100'), 'key_unusable')
  })
  it('is what was seen last', () => {
    const keyring = filled(a)
    const see = (i: number) => keyring.add({ ...b, kid: `k${i}`, use: 'enc' }, owner, 0)
    for (let i = 0; i < 100; i++) see(i)
    see(0)
    see(100)
    assert.equal(failureOf(keyring, 'k0'), 'key_unusable')
    assert.equal(keyring.get('k1', 0), undefined)
  })
  for (const [where, see] of [
    ['a single look-up', (keyring: Keyring, jwk: unknown) => keyring.add(jwk, owner, 0)],
    ['a key set', (keyring: Keyring, jwk: unknown) => void keyring.merge([a, jwk], owner, 0)],
  ] as const) {
    it(`is not forgotten for a key without an id, which nobody can ask for: in ${where}`, () => {
      const keyring = filled(a)
      for (let i = 0; i < 100; i++) keyring.add({ ...b, kid: `k${i}`, use: 'enc' }, owner, 0)
      see(keyring, { ...b, kid: undefined, use: 'enc' })
      assert.equal(failureOf(keyring, 'k0'), 'key_unusable')
      see(keyring, { ...b, kid: 'k100', use: 'enc' })
      assert.equal(keyring.get('k0', 0), undefined)
    })
  }
  it('ends when the key becomes usable', () => {
    const keyring = filled(a, { ...c, use: 'enc' })
    keyring.merge([a, c], owner, 1)
    keyOf(keyring, 'c', 1)
  })
  it('is not what was never seen', () => assert.equal(filled(a).get('nowhere', 0), undefined))
})
