/** The cookie of a sign-in under way, its state, and the sessions of tabs that sign in at the same time. */
import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { describe, it } from 'node:test'
import { open, type SealingPurpose, seal } from '../../src/session/sealing.ts'
import {
  codeVerifierOf,
  countStart,
  createLogin,
  createState,
  isBound,
  type Login,
  loginSeconds,
  maxStarts,
  nonceOf,
  openLogin,
  openState,
  sealLogin,
  sealState,
} from '../../src/sign-in/login.ts'
import { createParallelSignIns } from '../../src/sign-in/parallel-sign-ins.ts'
import { hashOf } from '../../src/sign-in/pkce.ts'
import { startSeconds as now } from '../support/ids.ts'
import { host, otherHost, sealingKeys, sessionOf } from '../support/sessions.ts'

const noKeys = { sealing: undefined, get: () => undefined }
const members = { target: '/page', startedAt: now, isRecheck: false, authContext: undefined }
const sealed = (purpose: SealingPurpose, form: unknown) =>
  seal(sealingKeys, purpose, JSON.stringify(form)) ?? ''

describe('a login', () => {
  it('has a secret of 256 bits, another one each time', () => {
    const [first, second] = [createLogin(host, now), createLogin(host, now)]
    assert.match(first.secret, /^[\w-]{43}$/)
    assert.notEqual(first.secret, second.secret)
    assert.deepEqual(first, { secret: first.secret, host, madeAt: now, starts: [] })
  })

  it('opens as it was sealed, for an hour and at its own host', () => {
    const login: Login = { ...createLogin(host, now), starts: [['page', now]] }
    const value = sealLogin(sealingKeys, login) ?? ''
    assert.equal(loginSeconds, 3_600)
    assert.deepEqual(openLogin(sealingKeys, value, host, now + 3_600), login)
    assert.equal(openLogin(sealingKeys, value, host, now + 3_601), undefined)
    assert.equal(openLogin(sealingKeys, value, otherHost, now), undefined)
    assert.equal(openLogin(sealingKeys, `${value}x`, host, now), undefined)
    assert.equal(openLogin(noKeys, value, host, now), undefined)
    assert.equal(sealLogin(noKeys, login), undefined)
  })

  it('has the form that each version reads, and no other', () => {
    const form = [1, 'secret', host, now, []]
    const expected = { secret: 'secret', host, madeAt: now, starts: [] }
    assert.deepEqual(openLogin(sealingKeys, sealed('login', form), host, now), expected)
    const value = sealLogin(sealingKeys, expected) ?? ''
    assert.deepEqual(JSON.parse(open(sealingKeys, 'login', value) ?? ''), form)
    for (const other of [[2, ...form.slice(1)], { 0: 1 }, 'text', []]) {
      assert.equal(openLogin(sealingKeys, sealed('login', other), host, now), undefined)
    }
    for (const purpose of ['state', 'session'] as const) {
      assert.equal(openLogin(sealingKeys, sealed(purpose, form), host, now), undefined)
    }
  })

  it('counts the starts of each page within a minute, by a hash of it', () => {
    let login = createLogin(host, now)
    const begin = (target: string, at: number) => {
      const counted = countStart(login, target, at)
      if (counted) login = counted
      return counted !== undefined
    }
    assert.equal(maxStarts, 5)
    for (let index = 0; index < 5; index++) assert.equal(begin('/a', now), true)
    assert.equal(begin('/a', now + 59), false)
    assert.equal(begin('/b', now + 59), true)
    assert.equal(login.madeAt, now + 59)
    assert.equal(begin('/a', now + 60), true)
    // Those of the minute before have left the cookie.
    assert.deepEqual(
      login.starts.map(([, at]) => at),
      [now + 59, now + 60],
    )
    const name = createHash('sha256').update('page /a').digest('base64url').slice(0, 8)
    assert.equal(login.starts.at(-1)?.[0], name)
  })

  it('keeps the last 32 starts, so its cookie stays small', () => {
    let login = createLogin(host, now)
    for (let index = 0; index < 40; index++) {
      login = countStart(login, `/tab/${index}`, now + index) ?? assert.fail('too many')
    }
    assert.deepEqual(
      login.starts.map(([, at]) => at - now),
      Array.from({ length: 32 }, (_, index) => index + 8),
    )
    assert.ok((sealLogin(sealingKeys, login) ?? '').length < 1_200)
  })
})

describe('a state', () => {
  const login = createLogin(host, now)

  it('opens as it was sealed, at its own host', () => {
    for (const more of [{}, { isRecheck: true }, { authContext: 'c1' }]) {
      const state = createState(login, { ...members, ...more })
      const value = sealState(sealingKeys, state) ?? ''
      assert.deepEqual(openState(sealingKeys, value, host), state)
      assert.equal(openState(sealingKeys, value, otherHost), undefined)
      assert.equal(openState(sealingKeys, `${value}x`, host), undefined)
      assert.equal(openState(noKeys, value, host), undefined)
      assert.equal(sealState(noKeys, state), undefined)
    }
  })

  it('has the form that each version reads, and no other', () => {
    const form = [1, 'secret', 'binding', host, '/page', now, 0, 0]
    const state = { secret: 'secret', binding: 'binding', host, ...members }
    assert.deepEqual(openState(sealingKeys, sealed('state', form), host), state)
    assert.deepEqual(
      JSON.parse(open(sealingKeys, 'state', sealState(sealingKeys, state) ?? '') ?? ''),
      form,
    )
    const recheck = { ...state, isRecheck: true, authContext: 'c2' }
    const [, ...rest] = [1, 'secret', 'binding', host, '/page', now, 1, 'c2']
    assert.deepEqual(openState(sealingKeys, sealed('state', [1, ...rest]), host), recheck)
    assert.deepEqual(
      JSON.parse(open(sealingKeys, 'state', sealState(sealingKeys, recheck) ?? '') ?? ''),
      [1, ...rest],
    )
    assert.equal(openState(sealingKeys, sealed('state', [2, ...form.slice(1)]), host), undefined)
    assert.equal(openState(sealingKeys, sealed('state', { 0: 1 }), host), undefined)
    for (const purpose of ['login', 'session'] as const) {
      assert.equal(openState(sealingKeys, sealed(purpose, form), host), undefined)
    }
  })

  it('belongs to the login that it began with', () => {
    const state = createState(login, members)
    assert.match(state.secret, /^[\w-]{43}$/)
    assert.notEqual(state.secret, createState(login, members).secret)
    assert.equal(state.host, host)
    assert.equal(isBound(state, login), true)
    assert.equal(isBound(state, { ...login, madeAt: now + 9, starts: [['x', now]] }), true)
    assert.equal(isBound(state, createLogin(host, now)), false)
    const binding = createHash('sha256').update(`binding ${login.secret}`).digest('base64url')
    assert.equal(state.binding, binding)
  })

  it('gives verifier and nonce only together with its login, as each replica derives them', () => {
    const state = createState(login, members)
    const derive = (purpose: string) =>
      createHmac('sha256', login.secret).update(`${purpose} ${state.secret}`).digest('base64url')
    assert.equal(codeVerifierOf(state, login), derive('code verifier'))
    assert.equal(nonceOf(state, login), derive('nonce'))
  })
})

describe('the code challenge', () => {
  it('is the one of RFC 7636, appendix B', () => {
    assert.equal(
      hashOf('dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'),
      'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
    )
  })
})

describe('the sessions of tabs at the same time', () => {
  const state = createState(createLogin(host, now), members)

  it('are found by sign-ins that began before they were made', () => {
    const known = createParallelSignIns()
    assert.equal(known.find(state), undefined)
    const session = sessionOf({ signedInAt: now + 5 })
    known.add(state, session)
    assert.equal(known.find({ ...state, startedAt: now + 4 }), session)
    assert.equal(known.find({ ...state, startedAt: now + 5 }), undefined)
    assert.equal(known.find({ ...state, binding: 'of another browser' }), undefined)
  })

  it('are the last 2,000', () => {
    const known = createParallelSignIns()
    const session = sessionOf({ signedInAt: now + 5 })
    for (let index = 0; index <= 2_000; index++)
      known.add({ ...state, binding: `${index}` }, session)
    assert.equal(known.find({ ...state, binding: '0' }), undefined)
    assert.equal(known.find({ ...state, binding: '1' }), session)
  })
})
