/** A poll asks for what is new since the last answer. What is said so must count as if all were said. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { type CacheStack, isHit, pollingFast, startCacheStack } from './cache-stack.ts'
import { values } from './client.ts'
import {
  allow,
  answer,
  type Call,
  deny,
  issuedAt,
  type Revocation,
  type Said,
  type Script,
} from './fake-verifier.ts'

const since = 'x-entra-auth-feed-since'
const later = Math.floor(Date.now() / 1000) + 3600

function ofUser(name: string, until = later): Revocation {
  return { kind: 'user', id: `contoso-tid/${name}-oid`, before: issuedAt + 1, until }
}

/** A verifier whose answers are numbered; since one that it knows it says only what is new, as the real one does. */
function createFeed(start: readonly Revocation[] = [], name = 'state') {
  const states = [{ list: start, added: start }]
  const tagOf = (index: number) => `"${name}-${index}"`
  const body = (list: readonly Revocation[]) =>
    JSON.stringify({ version: 'version-1', revocations: list })
  const feed = {
    /** What a test says in place of an answer of this kind. */
    ofNew: undefined as ((said: string) => Said) | undefined,
    /** Answers that said all. */
    whole: 0,
    add(...added: readonly Revocation[]) {
      const list = states.at(-1)?.list ?? []
      states.push({ list: [...list, ...added], added })
    },
    /** Leaves out what has ended, as the real one does. */
    end(...ended: readonly Revocation[]) {
      const list = states.at(-1)?.list ?? []
      states.push({ list: list.filter((each) => !ended.includes(each)), added: [] })
    },
    script: ((call: Call) => {
      const current = tagOf(states.length - 1)
      if (values(call, 'if-none-match')[0] === current) {
        return `HTTP/1.1 304 Not Modified\r\nETag: ${current}\r\n\r\n`
      }
      const tags = values(call, since)[0]?.split(', ') ?? []
      const index = states.findLastIndex((_, each) => tags.includes(tagOf(each)))
      if (index < 0) {
        feed.whole++
        return answer(200, [['ETag', current]], body(states.at(-1)?.list ?? []))
      }
      const added = states.slice(index + 1).flatMap((state) => state.added)
      const headers = [
        ['ETag', current],
        [since, tagOf(index)],
      ] as const
      const said = answer(200, headers, body(added))
      return feed.ofNew?.(said) ?? said
    }) as Script,
  }
  return feed
}

async function withFeed(
  feed: { script: Script },
  run: (stack: CacheStack) => Promise<void>,
  editLua = pollingFast,
): Promise<void> {
  const env = { ENTRA_AUTH_FEED_STALE_SECONDS: '3' }
  const stack = await startCacheStack({ feed: feed.script, editLua, env })
  try {
    stack.verifier.script = admitByName
    await run(stack)
  } finally {
    await stack.stop()
  }
}

/** Each token is the name of its user. */
function admitByName(call: Call): Said {
  const name = values(call, 'authorization')[0]?.replace('Bearer ', '') ?? ''
  return allow({ 'X-Auth-Request-User': `${name}-oid`, 'X-Auth-Request-Tenant': 'contoso-tid' })
}

async function assertNeverRemembered(stack: CacheStack, name: string): Promise<void> {
  for (let index = 0; index < 5; index++) assert.equal(isHit(await stack.askFor(name)), false, name)
}

/** Answers that said all, since a poll that named no earlier one. */
function countWhole(stack: CacheStack, from: number): number {
  return stack.verifier.polls.slice(from).filter((call) => values(call, since).length === 0).length
}

describe('what is new since the last answer', () => {
  it('leaves what was said of other kinds as it is', () => {
    const feed = createFeed([ofUser('early')])
    return withFeed(feed, async (stack) => {
      for (const name of ['alice', 'bob']) await stack.untilRemembered(name)
      await stack.morePolls(2)
      for (const kind of ['client', 'token', 'key', 'session', 'tenant'] as const) {
        const from = stack.verifier.polls.length
        feed.add({ kind, id: 'fabrikam-tid/other', before: issuedAt + 1, until: later })
        await eventually(
          () => stack.verifier.polls.length,
          (polls) => polls > from + 4,
        )
        await assertNeverRemembered(stack, 'early')
        assert.ok(isHit(await stack.untilRemembered('alice')), kind)
      }
      feed.add(ofUser('bob'))
      await stack.untilForgotten('bob')
      await assertNeverRemembered(stack, 'early')
    })
  })

  it('adds up to all that was said', () => {
    const feed = createFeed([ofUser('early')])
    return withFeed(feed, async (stack) => {
      for (const name of ['alice', 'bob', 'carol']) await stack.untilRemembered(name)
      // Each thread has heard all by now.
      await stack.morePolls(2)
      const from = stack.verifier.polls.length
      stack.verifier.script = (call) =>
        values(call, 'authorization')[0] === 'Bearer alice'
          ? deny(401, 'revoked')
          : admitByName(call)
      feed.add(ofUser('alice'))
      assert.equal((await stack.untilForgotten('alice')).reply.status, 401)
      stack.verifier.script = admitByName
      feed.add(ofUser('bob'))
      await stack.untilForgotten('bob')
      // Nothing that was said before is lost, however it was said.
      for (const name of ['early', 'alice', 'bob']) await assertNeverRemembered(stack, name)
      assert.ok(isHit(await stack.untilRemembered('carol')))
      assert.equal(countWhole(stack, from), 0)
    })
  })

  it('may be more than one change', () => {
    const feed = createFeed()
    return withFeed(feed, async (stack) => {
      for (const name of ['alice', 'bob']) await stack.untilRemembered(name)
      let isOut = true
      stack.verifier.feed = (call) => (isOut ? answer(503) : feed.script(call))
      feed.add(ofUser('alice'))
      feed.add(ofUser('bob'))
      await stack.morePolls(1)
      isOut = false
      for (const name of ['alice', 'bob']) {
        await stack.untilForgotten(name)
        await assertNeverRemembered(stack, name)
      }
    })
  })

  it('is asked for anew as a whole where the verifier does not know the last answer', () => {
    const feed = createFeed()
    return withFeed(feed, async (stack) => {
      await stack.untilRemembered('alice')
      feed.add(ofUser('bob'))
      await stack.morePolls(2)
      // Another replica: other tags, and another list.
      stack.verifier.feed = createFeed([ofUser('alice')], 'other').script
      await stack.untilForgotten('alice')
      for (const name of ['alice', 'bob']) await assertNeverRemembered(stack, name)
    })
  })

  it('drops nothing where another replica answers with all that it knows', () => {
    // Over by the clock of HAProxy. Only an answer to the question for all may drop it.
    const feed = createFeed([ofUser('alice', 1)])
    return withFeed(feed, async (stack) => {
      await stack.untilRemembered('bob')
      await assertNeverRemembered(stack, 'alice')
      const other = createFeed([], 'other')
      stack.verifier.feed = other.script
      await stack.morePolls(3)
      assert.ok(other.whole >= 1)
      await stack.untilRemembered('bob')
      await assertNeverRemembered(stack, 'alice')
    })
  })

  it('is enough where replicas answer in turn that never know the same', () => {
    const [one, other] = [createFeed([], 'one'), createFeed([], 'other')]
    // Each thread hears of one after the other.
    const script: Script = (call) =>
      values(call, 'if-none-match')[0]?.startsWith('"one') ? other.script(call) : one.script(call)
    return withFeed({ script }, async (stack) => {
      for (const name of ['alice', 'bob', 'carol', 'dave']) await stack.untilRemembered(name)
      await stack.morePolls(3)
      const before = one.whole + other.whole
      const feeds = { alice: one, bob: other, carol: one }
      for (const [name, feed] of Object.entries(feeds)) {
        feed.add(ofUser(name))
        await stack.untilForgotten(name)
      }
      await stack.morePolls(3)
      for (const name of Object.keys(feeds)) await assertNeverRemembered(stack, name)
      assert.ok(isHit(await stack.untilRemembered('dave')))
      assert.equal(one.whole + other.whole, before)
    })
  })

  for (const [what, ofNew] of Object.entries<(said: string) => Said>({
    'cannot be read': () =>
      answer(
        200,
        [
          ['ETag', '"state-1"'],
          [since, '"state-0"'],
        ],
        '{"version":"version-1","revoc',
      ),
    'is too much with what is known': (said) => said,
  })) {
    it(`is asked for as a whole at once where it ${what}`, () => {
      const soon = Math.floor(Date.now() / 1000) + 2
      const ended = Array.from({ length: 5 }, (_, index) => ofUser(`user-${index}`, soon))
      const feed = createFeed(ended)
      const limited = (lua: string) =>
        pollingFast(lua).replace('REVOCATION_LIMIT = 10000', 'REVOCATION_LIMIT = 6')
      return withFeed(
        feed,
        async (stack) => {
          feed.ofNew = ofNew
          for (const name of ['alice', 'bob', 'carol']) await stack.untilRemembered(name)
          await stack.morePolls(2)
          await eventually(
            () => Date.now() / 1000,
            (now) => now > soon + 0.1,
          )
          const from = stack.verifier.polls.length
          feed.end(...ended)
          feed.add(ofUser('alice'), ofUser('bob'))
          for (const name of ['alice', 'bob']) {
            await stack.untilForgotten(name)
            await assertNeverRemembered(stack, name)
          }
          assert.ok(countWhole(stack, from) >= 1)
          // The cache was not off for long, and nobody has to look into it.
          await stack.untilRemembered('carol')
          assert.deepEqual(
            stack.haproxy.logLines.filter((line) => line.includes('revocations cannot be read')),
            [],
          )
        },
        limited,
      )
    })
  }

  it('is not asked for where an error left open what the last answer was', () => {
    // Over by the clock of HAProxy, and not yet by that of the verifier, which still lists it.
    const over = ofUser('alice', 1)
    const feed = createFeed([over])
    const other = '"other"'
    const breaking = (lua: string) =>
      pollingFast(lua).replace(
        'feed.etag = etag\n',
        `if etag == '${other}' then error("broken") end\n feed.etag = etag\n`,
      )
    return withFeed(
      feed,
      async (stack) => {
        await stack.untilRemembered('bob')
        await assertNeverRemembered(stack, 'alice')
        // Another replica, for which it is over.
        stack.verifier.feed = () =>
          answer(200, [['ETag', other]], '{"version":"version-1","revocations":[]}')
        await stack.haproxy.waitForLog((line) => line.includes('broken'))
        await stack.morePolls(2)
        stack.verifier.feed = feed.script
        await stack.morePolls(2)
        await stack.untilRemembered('bob')
        await assertNeverRemembered(stack, 'alice')
      },
      breaking,
    )
  })

  it('is not taken where it is new since another answer', () => {
    const feed = createFeed()
    return withFeed(feed, async (stack) => {
      for (const name of ['alice', 'bob']) await stack.untilRemembered(name)
      await stack.morePolls(2)
      feed.ofNew = (said) => String(said).replace('"state-0"', '"state-7"')
      feed.add(ofUser('alice'))
      await stack.haproxy.waitForLog((line) => line.includes('since an answer that is not known'))
      // No good answer for longer than ENTRA_AUTH_FEED_STALE_SECONDS: then nothing is a hit, whoever it is.
      for (const name of ['bob', 'alice']) {
        await stack.untilForgotten(name)
        await assertNeverRemembered(stack, name)
      }
    })
  })

  it('is followed by all after a while, so that what ended is dropped', () => {
    const feed = createFeed()
    const often = (lua: string) =>
      pollingFast(lua).replace('WHOLE_FEED_MS = 60000', 'WHOLE_FEED_MS = 500')
    return withFeed(
      feed,
      async (stack) => {
        await stack.untilRemembered('alice')
        const soon = ofUser('alice', Math.floor(Date.now() / 1000) + 2)
        feed.add(soon)
        await stack.untilForgotten('alice')
        await assertNeverRemembered(stack, 'alice')
        await eventually(
          () => Date.now() / 1000,
          (now) => now > soon.until + 0.1,
        )
        feed.end(soon)
        await stack.untilRemembered('alice')
      },
      often,
    )
  })
})
