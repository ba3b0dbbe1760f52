import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { Authorities } from '../keys/authority.ts'
import { maxRevocations, type RevocationKind } from '../revocation/revocation.ts'
import type { RevocationList } from '../revocation/revocation-list.ts'
import { isRightKey } from './caller.ts'
import { openChallenges } from './challenge.ts'
import { readCorrelation } from './correlation.ts'
import { readRequest } from './request.ts'
import { sendRefusal } from './route.ts'
import type { Rules } from './rules.ts'

/** What the feed is made of. */
export interface RevocationFeedOptions {
  readonly rules: () => Rules
  readonly revocations: () => RevocationList
  readonly clock: () => number
}

/** One thing that HAProxy's cache must not admit. Times in seconds. */
interface FeedEntry {
  readonly kind: RevocationKind
  readonly id: string
  readonly before: number
  readonly until: number
}

/** An answer to a poll, and its entity tag. */
interface Feed {
  readonly body: string
  readonly etag: string
  /** Of an answer that says only what is new: since the answer with this tag. */
  readonly since?: string
}

/** A poll may name one of so many last answers. Each change may be an answer of its own. */
const longestHistory = 1_000

/** Answers that are kept for the next poll: of each form, and what is new since a few others. */
const mostAnswers = 10

/** No verdict is cached for longer, so after an hour no cache has a verdict of a removed key. */
const retiredKeySeconds = 3_600

/**
 * Adds `GET /revocations`: what HAProxy's cache must not admit. A state and not a log, so that any
 * replica may answer any poll. The version is that of the rules, which each verdict carries too.
 * HAProxy keeps what it was told. It names its last answers in `X-Entra-Auth-Feed-Since`, of whichever replica. If
 * this replica knows one of them, HAProxy gets what is new since then, and the header says so. Else it gets all.
 */
export function addRevocationFeed(app: FastifyInstance, options: RevocationFeedOptions): void {
  const getFeed = createFeedSource(options)
  app.get('/revocations', (request, reply) => {
    const rules = options.rules()
    if (!isRightKey(readRequest(request.raw.rawHeaders).callerKey, rules.callerKeys)) {
      const { requestId } = readCorrelation(request.headers)
      return sendRefusal(reply, { allow: false, failure: 'caller_not_allowed' }, requestId)
    }
    const { headers } = request
    const { body, etag, since } = getFeed(
      headers['x-entra-auth-feed'] === '2' ? 2 : 1,
      headers['x-entra-auth-feed-since'],
    )
    reply.header('ETag', etag).header('Cache-Control', 'no-store')
    if (headers['if-none-match'] === etag) return reply.code(304).send()
    if (since !== undefined) reply.header('X-Entra-Auth-Feed-Since', since)
    return reply.type('application/json').send(body)
  })
}

/**
 * Returns the function that gives the answer in a form. Each HAProxy thread asks once a second, and
 * ten thousand entries take milliseconds to write and to hash. So an answer is built once for each
 * (rules, list, withdrawn keys), and used until its first entry expires or a probation ends.
 */
function createFeedSource({ rules, revocations, clock }: RevocationFeedOptions) {
  let builtFrom: { rules: Rules; list: RevocationList; recent: unknown; keys: string } | undefined
  let builtAt = 0
  let endsAt = 0
  let entries: readonly FeedEntry[] = []
  const answers = new Map<string, Feed>()
  const history = createHistory()

  return (form: 1 | 2, since: string | string[] | undefined): Feed => {
    const [currentRules, list, nowSeconds] = [rules(), revocations(), clock() / 1000]
    const retired = retiredKeys(currentRules.authorities, nowSeconds)
    const keys = JSON.stringify(retired)
    const recent = list.recent?.()
    const isCurrent =
      builtFrom?.rules === currentRules &&
      builtFrom.list === list &&
      builtFrom.recent === recent &&
      builtFrom.keys === keys &&
      // A clock that was ahead and is set back puts in force again what had ended by it.
      nowSeconds >= builtAt &&
      nowSeconds < endsAt
    if (!isCurrent) {
      builtFrom = { rules: currentRules, list, recent, keys }
      builtAt = nowSeconds
      const candidates = [...listed(list, recent), ...retired]
      const current = candidates.filter(({ ending }) => ending > nowSeconds)
      entries = current.map(({ ending: _, ...entry }) => entry)
      endsAt = Math.min(
        current.reduce((end, { ending }) => Math.min(end, ending), Infinity),
        endOfProbation(currentRules, nowSeconds),
      )
      answers.clear()
    }
    const answer = (name: string, create: () => Feed): Feed => {
      const known = answers.get(name) ?? create()
      if (answers.size < mostAnswers) answers.set(name, known)
      return known
    }
    if (form === 1) return answer('1', () => createFeed(formOne(currentRules, entries)))
    const all = answer('2', () => {
      const lines = entries.map((entry) => JSON.stringify(entry))
      const feed = createFeed(formTwo(currentRules, lines, nowSeconds))
      history.add(feed.etag, lines)
      return feed
    })
    // More than HAProxy takes: it has to see that.
    if (typeof since !== 'string' || entries.length > maxRevocations) return all
    const latest = history.latest(since.split(', '))
    if (latest === undefined) return all
    return answer(`2 ${latest}`, () => ({
      body: formTwo(currentRules, history.since(latest), nowSeconds),
      etag: all.etag,
      since: latest,
    }))
  }
}

/**
 * Since which answer each entry of the last one has been there. Bounded by that answer and by the number of
 * tags, whatever came and went in between.
 */
function createHistory() {
  /** Tag → number of the answer. */
  const numbers = new Map<string, number>()
  /** Entry of the last answer → number of the first one from which on it was in each. */
  let firstIn: ReadonlyMap<string, number> = new Map()
  let count = 0
  const numberOf = (etag: string) => numbers.get(etag) ?? 0
  return {
    add(etag: string, lines: readonly string[]): void {
      const number = ++count
      firstIn = new Map(lines.map((line) => [line, firstIn.get(line) ?? number]))
      // The same tag means the same entries, so its last time counts.
      numbers.delete(etag)
      numbers.set(etag, number)
      const [oldest = ''] = numbers.keys()
      if (numbers.size > longestHistory) numbers.delete(oldest)
    },
    /** Which of these tags is that of the latest answer; undefined if none is of one of the last. */
    latest(etags: readonly string[]): string | undefined {
      const known = etags.filter((etag) => numbers.has(etag))
      return known.toSorted((one, other) => numberOf(one) - numberOf(other)).at(-1)
    },
    /** What is new since the answer with this tag, which is one of the last. */
    since(etag: string): readonly string[] {
      const number = numberOf(etag)
      return [...firstIn].filter(([, first]) => first > number).map(([line]) => line)
    },
  }
}

/**
 * What actions before sessions understand: one more kind, and their cache would be off. It has to be off
 * where there are more than HAProxy takes, because these are not all.
 */
function formOne({ version }: Rules, entries: readonly FeedEntry[]): string {
  const isFull = entries.length > maxRevocations
  const understood = entries.filter(({ kind }) => isFull || kind !== 'session')
  return JSON.stringify({ version, revocations: understood })
}

/** For actions that ask for it: with sessions, and the challenges of those without credentials. JSON. */
function formTwo(rules: Rules, lines: readonly string[], nowSeconds: number): string {
  const challenges = openChallenges(rules, nowSeconds * 1000)
  const version = JSON.stringify(rules.version)
  return `{"version":${version},"revocations":[${lines.join()}],"challenges":${JSON.stringify(challenges)}}`
}

/** When the next policy begins to refuse (s): its challenge is in the feed from then on. */
function endOfProbation({ policies }: Rules, nowSeconds: number): number {
  const ends = [...policies.values()].map(({ reportOnlyUntilMs }) => reportOnlyUntilMs / 1000)
  return ends.reduce((next, end) => (end > nowSeconds ? Math.min(next, end) : next), Infinity)
}

function createFeed(body: string): Feed {
  const hash = createHash('sha256').update(body).digest('base64url').slice(0, 22)
  return { body, etag: `"${hash}"` }
}

/** An entry, and when it ends by the clock of this machine. */
type Candidate = FeedEntry & { readonly ending: number }

/**
 * All revocations, or those that some verdict in HAProxy's cache may not know of. An older one is in
 * force in each verifier for longer than any verdict is kept, so that a hit cannot be from before it.
 */
function listed(list: RevocationList, recent = list.recent?.()): readonly Candidate[] {
  if (!recent) {
    return list.entries.map(({ kind, id, before, until }) => ({
      ...{ kind, id, before, until },
      ending: until,
    }))
  }
  return recent.map(({ revocation: { kind, id, before }, listedUntil, ending }) => ({
    ...{ kind, id, before, until: listedUntil },
    ending,
  }))
}

/** Keys that their authority withdrew, in the form of revocations. */
function retiredKeys(authorities: Authorities, nowSeconds: number): readonly Candidate[] {
  const sinceMs = (nowSeconds - retiredKeySeconds) * 1000
  const found: Candidate[] = []
  for (const authority of authorities.values()) {
    for (const { id, atMs } of authority.retiredKeys(sinceMs)) {
      const before = Math.floor(atMs / 1000)
      const until = before + retiredKeySeconds
      found.push({ kind: 'key', id, before, until, ending: until })
    }
  }
  return found
}
