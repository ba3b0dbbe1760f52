/** The revocations that sign-in makes by itself: how many, how long, and what the log says of the others. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Revocation } from '../../src/revocation/revocation.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import type { CurrentSession } from '../../src/session/read-session.ts'
import type { SignInContext } from '../../src/sign-in/context.ts'
import {
  countOwn,
  createAccountCounts,
  maxOfAccount,
  ownReasons,
  revokeSession,
} from '../../src/sign-in/own-revocations.ts'
import { createFrontchannelLogout, maxGuesses } from '../../src/sign-in/sign-out.ts'
import { createEntraSessions } from '../../src/verify/entra-sessions.ts'
import { startSeconds as now, startMs } from '../support/ids.ts'

/** What sign-in asks for, and lines of the log. */
function contextOf(
  entries: readonly Revocation[],
  {
    add = async () => {},
    canRevoke = true,
    recent,
  }: {
    readonly add?: () => Promise<void>
    readonly canRevoke?: boolean
    readonly recent?: () => unknown
  } = {},
) {
  const lines: [fields: object, message: string][] = []
  const warnings: [fields: object, message: string][] = []
  const added: unknown[] = []
  const context = {
    clock: () => startMs,
    canRevoke: () => canRevoke,
    accounts: createAccountCounts(),
    revocations: {
      list: { ...createRevocationList(entries), entries, recent },
      add: async (...what: unknown[]) => {
        added.push(what)
        await add()
      },
    },
    log: {
      error: (fields: object, message: string) => void lines.push([fields, message]),
      warn: (fields: object, message: string) => void warnings.push([fields, message]),
    },
  } as unknown as SignInContext
  return { context, lines, warnings, added }
}

const own = (id: string, more: object = {}): Revocation =>
  ({
    kind: 'session',
    id,
    before: now,
    until: now + 60,
    reason: 'signed out',
    ...more,
  }) as Revocation
const session = { id: 'a', hardEnd: now + 100 }
const account = { tenantId: 't', userId: 'u' }

describe('the reasons of own revocations', () => {
  it('are those that the store and the list of the operator show', () => {
    assert.deepEqual(ownReasons, {
      signedOut: 'signed out',
      recheck: 'refused at a re-check',
      elsewhere: 'signed out elsewhere',
      replaced: 'replaced by another sign-in',
    })
  })
})

describe('the count of own revocations', () => {
  it('has each of the four reasons, and nothing of an administrator or that has ended', () => {
    const { reason: _, ...nameless } = own('e')
    const entries = [
      ...Object.values(ownReasons).map((reason, index) => own(`${index}`, { reason })),
      own('c', { reason: 'stolen' }),
      own('d', { until: now }),
      nameless as Revocation,
    ]
    const { context } = contextOf(entries)
    assert.equal(countOwn(context), 4)
    assert.equal(countOwn(context, 'signed out elsewhere'), 1)
    assert.equal(countOwn(context, 'stolen'), 1)
  })

  it('of a store has those of the last two hours only', () => {
    const twoHours = 2 * 3_600
    const recent = () =>
      [
        own('a', { madeAt: now }),
        own('b', { madeAt: now - twoHours }),
        own('h', { madeAt: now - 1 }),
        own('c', { madeAt: now - twoHours - 1 }),
        own('d'),
      ].map((revocation) => ({ revocation }))
    assert.equal(countOwn(contextOf([own('e'), own('f'), own('g')], { recent }).context), 3)
  })
})

describe('the counts of accounts', () => {
  it('leave out what has ended', () => {
    const counts = createAccountCounts()
    assert.equal(counts.count('x', now), 0)
    counts.add('x', now + 10, now)
    counts.add('x', now + 20, now)
    assert.equal(counts.count('x', now + 9), 2)
    assert.equal(counts.count('x', now + 10), 1)
    assert.equal(counts.count('y', now), 0)
    counts.add('x', now + 90, now + 50)
    assert.equal(counts.count('x', now), 1)
  })

  it('are of 8,000 accounts at most', () => {
    const counts = createAccountCounts()
    for (let index = 0; index <= 8_000; index++) counts.add(`${index}`, now + 10, now)
    assert.equal(counts.count('0', now), 0)
    assert.equal(counts.count('1', now), 1)
  })
})

describe('the front channel', () => {
  const seconds = 7 * 24 * 3_600
  const create = () => {
    const time = { seconds: now }
    const added: string[] = []
    // As of a store: only recent ones are counted, and after a while none is.
    const { context } = contextOf([], { recent: () => [] })
    Object.assign(context, {
      clock: () => time.seconds * 1_000,
      entraSessions: createEntraSessions(),
      rules: () => ({ sessions: { hosts: { match: () => 'host' }, sessionSeconds: seconds } }),
      revocations: {
        list: context.revocations.list,
        add: async ({ id }: Revocation) => void added.push(id),
      },
    })
    const answer = createFrontchannelLogout(context)
    const call = async (sid: string) => {
      let status = 0
      const reply = {
        code: (code: number) => {
          status = code
          return reply
        },
        header: () => reply,
        type: () => reply,
        send: () => reply,
      }
      const request = { query: { sid }, headers: {} }
      await answer(request as unknown as FastifyRequest, reply as unknown as FastifyReply)
      return status
    }
    return { context, time, added, call }
  }

  it('revokes 24,000 made-up ids in all, however slowly they come, and each that is known', async () => {
    const { context, time, added, call } = create()
    let count = 0
    for (let minute = 0; minute < 300; minute++) {
      time.seconds += 60
      for (let i = 0; i < 100; i++) await call(`made-up-session-${count++}`)
    }
    assert.equal(added.length, maxGuesses)
    assert.equal(maxGuesses, 24_000)
    assert.equal(await call('one-more-made-up-id'), 429)
    const entraSessionId = 'seen-here-with-a-session'
    const { hardEnd } = { hardEnd: time.seconds + 100 }
    context.entraSessions.see({ entraSessionId, hardEnd } as CurrentSession)
    assert.equal(await call(entraSessionId), 200)
    assert.equal(added.at(-1), entraSessionId)
    // Their ends make room.
    time.seconds += seconds
    assert.equal(await call('the-next-made-up-id'), 200)
  })
})

describe('the revocation of a session', () => {
  it('lasts a minute longer than the session can, and makes room for others', async () => {
    const { context, added, lines } = contextOf([])
    await revokeSession(context, session, now, 'signed out')
    await revokeSession(context, { ...session, sealedHardEnd: now + 200.5 }, now + 1, 'signed out')
    const revocation = { kind: 'session', id: 'a', reason: 'signed out' }
    assert.deepEqual(added, [
      [
        { ...revocation, before: now, until: now + 160 },
        { isYielding: true, isGuess: true },
      ],
      [
        { ...revocation, before: now + 1, until: now + 261 },
        { isYielding: true, isGuess: true },
      ],
    ])
    // Of a person who signed in, nobody made up the id.
    await revokeSession(context, { ...session, id: 'b', ...account }, now, 'signed out')
    assert.deepEqual((added.at(-1) as unknown[])[1], { isYielding: true, isGuess: false })
    assert.deepEqual(lines, [])
  })

  it('is not made without a place for it', async () => {
    const { context, added } = contextOf([], { canRevoke: false })
    await revokeSession(context, session, now, 'signed out')
    assert.deepEqual(added, [])
  })

  it('is not made where one lasts as long, and is made longer where it does not', async () => {
    const until = session.hardEnd + 60
    for (const [known, count] of [
      [until + 1, 0],
      [until, 0],
      [until - 1, 1],
    ] as const) {
      const { context, added } = contextOf([own('a', { until: known })])
      await revokeSession(context, session, now, 'signed out')
      assert.equal(added.length, count, `${known - until}`)
    }
  })

  it('that cannot be kept is an error in the log', async () => {
    const add = () => Promise.reject(new Error('disk full'))
    const { context, lines, warnings } = contextOf([], { add })
    await revokeSession(context, { ...session, ...account }, now, 'signed out')
    const said = [
      [
        { problem: 'disk full', session: 'a' },
        'session not revoked: a copy of its cookie goes on to its hard end',
      ],
    ]
    assert.deepEqual([lines, warnings], [said, []])
    // Anybody can make up an id.
    await revokeSession(context, session, now, 'signed out elsewhere')
    assert.deepEqual([lines, warnings], [said, said])
  })

  it('is one of 8,000 at most, and a known one is still made longer then', async () => {
    const entries = Array.from({ length: 8_000 }, (_, index) => own(`${index}`))
    const { context, lines, warnings, added } = contextOf(entries)
    await revokeSession(context, { ...session, ...account }, now, 'signed out')
    assert.deepEqual(added, [])
    const said = [
      [
        { session: 'a' },
        'session not revoked, too many are already: a copy of its cookie goes on to its hard end',
      ],
    ]
    assert.deepEqual([lines, warnings], [said, []])
    await revokeSession(context, session, now, 'signed out elsewhere')
    assert.deepEqual([lines, warnings], [said, said])
    await revokeSession(context, { ...session, id: '7' }, now, 'signed out')
    assert.equal(added.length, 1)
    const one = contextOf(entries.slice(1))
    await revokeSession(one.context, session, now, 'signed out')
    assert.equal(one.added.length, 1)
  })

  it('is one of 500 at most of one account in one tenant', async () => {
    const { context, lines, added } = contextOf([])
    for (let index = 0; index < maxOfAccount; index++) {
      await revokeSession(context, { ...session, id: `${index}`, ...account }, now, 'signed out')
    }
    assert.equal(maxOfAccount, 500)
    assert.equal(added.length, 500)
    assert.deepEqual(lines, [])
    await revokeSession(context, { ...session, ...account }, now, 'signed out')
    assert.equal(added.length, 500)
    assert.deepEqual(lines, [
      [
        { session: 'a', user: 'u' },
        'session not revoked, its account has ended too many: a copy of its cookie goes on to its hard end',
      ],
    ])
    for (const other of [
      { tenantId: 'other', userId: 'u' },
      { tenantId: 't', userId: 'other' },
    ]) {
      await revokeSession(context, { ...session, ...other }, now, 'signed out')
    }
    // Without an account, as from the front channel, it is counted for nobody.
    await revokeSession(context, session, now, 'signed out elsewhere')
    assert.equal(added.length, 503)
    assert.equal(context.accounts.count('t/u', now), 500)
    assert.equal(context.accounts.count('other/u', now), 1)
    assert.equal(context.accounts.count('t/other', now), 1)
    assert.equal(context.accounts.count('t/undefined', now), 0)
    assert.equal(context.accounts.count('undefined/undefined', now), 0)
    assert.equal(context.accounts.count(undefined as never, now), 0)
    // They count until they end, the minute more included.
    assert.equal(context.accounts.count('t/u', now + 159), 500)
    assert.equal(context.accounts.count('t/u', now + 160), 0)
  })

  it('that makes a known one longer is not counted again', async () => {
    const { context } = contextOf([own('a', { until: now + 60 })])
    await revokeSession(context, { ...session, tenantId: 't', userId: 'u' }, now, 'signed out')
    assert.equal(context.accounts.count('t/u', now), 0)
  })
})
