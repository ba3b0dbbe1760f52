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
}

/** No verdict is cached for longer, so after an hour no cache has a verdict of a removed key. */
const retiredKeySeconds = 3_600

/**
 * Adds `GET /revocations`: what HAProxy's cache must not admit. A state and not a log, so that any
 * replica may answer any poll. The version is that of the rules, which each verdict carries too.
 */
export function addRevocationFeed(app: FastifyInstance, options: RevocationFeedOptions): void {
  const getFeed = createFeedSource(options)
  app.get('/revocations', (request, reply) => {
    const rules = options.rules()
    if (!isRightKey(readRequest(request.raw.rawHeaders).callerKey, rules.callerKeys)) {
      const { requestId } = readCorrelation(request.headers)
      return sendRefusal(reply, { allow: false, failure: 'caller_not_allowed' }, requestId)
    }
    const { body, etag } = getFeed(request.headers['x-entra-auth-feed'] === '2' ? 2 : 1)
    reply.header('ETag', etag).header('Cache-Control', 'no-store')
    if (request.headers['if-none-match'] === etag) return reply.code(304).send()
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
  const forms = new Map<1 | 2, Feed>()

  return (form: 1 | 2): Feed => {
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
      forms.clear()
    }
    let feed = forms.get(form)
    if (!feed) {
      const content =
        form === 2 ? formTwo(currentRules, entries, nowSeconds) : formOne(currentRules, entries)
      feed = createFeed(content)
      forms.set(form, feed)
    }
    return feed
  }
}

/**
 * What actions before sessions understand: one more kind, and their cache would be off. It has to be off
 * where there are more than HAProxy takes, because these are not all.
 */
function formOne({ version }: Rules, entries: readonly FeedEntry[]): object {
  const isFull = entries.length > maxRevocations
  return { version, revocations: entries.filter(({ kind }) => isFull || kind !== 'session') }
}

/** For actions that ask for it: with sessions, and the challenges of those without credentials. */
function formTwo(rules: Rules, entries: readonly FeedEntry[], nowSeconds: number): object {
  const challenges = openChallenges(rules, nowSeconds * 1000)
  return { version: rules.version, revocations: entries, challenges }
}

/** When the next policy begins to refuse (s): its challenge is in the feed from then on. */
function endOfProbation({ policies }: Rules, nowSeconds: number): number {
  const ends = [...policies.values()].map(({ reportOnlyUntilMs }) => reportOnlyUntilMs / 1000)
  return ends.reduce((next, end) => (end > nowSeconds ? Math.min(next, end) : next), Infinity)
}

function createFeed(content: object): Feed {
  const body = JSON.stringify(content)
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
