import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Command } from 'commander'
import { addExplainCommand } from '../../src/commands/explain.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import type { Explanation } from '../../src/explain/explanation.ts'
import { formatExplanation } from '../../src/explain/format.ts'
import { explainSession } from '../../src/explain/session.ts'
import type { Revocation } from '../../src/revocation/revocation.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { createSealingKey } from '../../src/session/sealing.ts'
import { fingerprintOf } from '../../src/session/session.ts'
import { createSignInPart } from '../../src/sign-in/part.ts'
import { compileRules } from '../../src/verify/rules.ts'
import { configOf } from '../config/fixture.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { fixtureConfig, type Service, startService, verify } from '../support/service.ts'
import {
  cookieOf,
  host,
  keysOf,
  otherHost,
  sealingKeys,
  signIn,
  withSession,
} from '../support/sessions.ts'
import { runCommand } from './fixture.ts'

const session = { actor: 'user', session: true } as const
const groups = fingerprintOf([ids.group])
const config = {
  signIn,
  policies: {
    portal: { allow: [session] },
    denied: { allow: [session], deny: [{ users: [ids.user] }] },
    grouped: { allow: [{ ...session, groups: [ids.group] }] },
    strong: { allow: [{ ...session, authContext: 'c1' }] },
    roles: { allow: [{ ...session, roles: ['Portal.Admin'] }] },
    members: { allow: [{ ...session, guests: false }] },
    tokens: { audiences: [ids.api], allow: [{ actor: 'user', scopes: ['Orders.Read'] }] },
  },
}

let revocations: readonly Revocation[] = []
let service: Service
before(async () => {
  service = await startService({
    signIn: createSignInPart({
      sealingKeys,
      credential: { env: {}, randomId: () => 'id', readFile: () => 'secret' },
    }),
    config,
    revocations: {
      get list() {
        return createRevocationList(revocations)
      },
      start: async () => {},
      setLongest() {},
      reload: async () => false,
      add: async () => {},
      remove: async () => false,
    },
  })
})
after(() => service.close())

/** Explains a cookie, and fails unless /verify gives the same reason. */
async function explain(policyName: string, cookie: string, at?: string): Promise<Explanation> {
  const file = JSON.stringify(fixtureConfig(service.authority.url, { config }))
  const rules = compileRules(await configOf(file), service.app.authorities)
  const policy = rules.policies.get(policyName) ?? assert.fail(`no policy ${policyName}`)
  const context = {
    clock: () => service.time.nowMs,
    sealingKeys,
    revocations: () => createRevocationList(revocations),
  }
  const explanation = explainSession(context, rules, policy, { cookie, host: at })
  const reply = await verify(
    service,
    policyName,
    withSession(cookie, { 'X-Forwarded-Host': at ?? host }),
  )
  assert.equal(explanation.reason, reply.status === 200 ? null : reply.reason)
  assert.equal(explanation.status, reply.status)
  const failed = explanation.checks.filter(({ state }) => state === 'failed')
  assert.deepEqual(
    failed.map(({ reason }) => reason),
    explanation.reason === null ? [] : [explanation.reason],
  )
  for (const check of failed) assert.notEqual(check.changes.length, 0, `${explanation.reason}`)
  const text = formatExplanation(explanation)
  assert.doesNotMatch(text, /\b(undefined|NaN)\b|\[object/)
  assert.ok(!text.includes(cookie.slice(0, 20)))
  return explanation
}

const adviceOf = ({ checks }: Explanation) =>
  checks.flatMap(({ changes }) => changes.map(({ text }) => text)).join(' ')

describe('explain for the cookie of a session', () => {
  it('shows each check of a session that is admitted', async () => {
    const explanation = await explain('portal', cookieOf())
    assert.deepEqual(
      explanation.checks.map(({ step, state }) => `${step} ${state}`),
      [
        'session passed',
        'revocation passed',
        'groups passed',
        'policy_tenant passed',
        'audience passed',
        'lifetime passed',
        'app_only passed',
        'deny passed',
        'allow passed',
        'identity passed',
      ],
    )
    const text = formatExplanation(explanation).replace(/\s+/g, ' ')
    assert.match(text, /^policy portal: allow 200 /)
    assert.match(text, /session id = "c2Vzc2lvbi1vZi1maXh0dXI", host = "portal\.contoso\.example"/)
    assert.match(text, /ends = "[\d-]+T[\d:.]+Z" \(in 8 h\)/)
  })

  for (const [what, policy, members, reason, advice] of [
    [
      'without the group',
      'grouped',
      { groupsLookedAt: groups },
      'group_missing',
      /sign out and sign in/,
    ],
    [
      'without the role',
      'roles',
      { groupsLookedAt: groups },
      'role_missing',
      /sign out and sign in/,
    ],
    ['of a guest', 'members', { guest: true }, 'guest_not_allowed', /guest/],
    ['that a rule denies', 'denied', {}, 'denied_by_rule', /policies\.denied\.deny\[0\]/],
    ['without the context', 'strong', {}, 'step_up_required', /acrs=c1/],
    ['with other groups', 'grouped', {}, 'session_recheck', /goes by Entra/],
    ['that has ended', 'portal', { hardEnd: startSeconds }, 'session_ended', /sessionHours/],
    ['at a policy for tokens', 'tokens', {}, 'no_credentials', /"session: true"/],
    [
      'from the future',
      'portal',
      { checkedAt: startSeconds + 3_600 },
      'no_session',
      /from the future/,
    ],
    ['of another client', 'portal', { clientId: ids.app }, 'no_session', /was made with client/],
  ] as const) {
    it(`says what to change for one ${what}`, async () => {
      const explanation = await explain(policy, cookieOf(members))
      assert.equal(explanation.reason, reason)
      assert.match(adviceOf(explanation), advice)
    })
  }

  it('says why a value is no session, which /verify never does', async () => {
    const unknownKey = cookieOf({}, keysOf('another key'))
    assert.match(adviceOf(await explain('portal', unknownKey)), /not in the folder/)
    assert.match(adviceOf(await explain('portal', cookieOf().slice(1))), /cut, altered/)
    assert.match(
      adviceOf(await explain('portal', cookieOf(), otherHost)),
      /is for portal\.contoso\.example.*sign in at wiki/,
    )
    assert.match(
      adviceOf(await explain('portal', cookieOf(), 'other.example')),
      /add it to signIn\.hosts/,
    )
  })

  it('says that it was revoked, and how to end that', async (t) => {
    t.after(() => {
      revocations = []
    })
    const until = startSeconds + 8 * 3_600
    revocations = [{ kind: 'session', id: 'c2Vzc2lvbi1vZi1maXh0dXI', before: startSeconds, until }]
    assert.match(adviceOf(await explain('portal', cookieOf())), /revocations remove/)
  })
})

describe('the command explain', () => {
  it('takes the value of a session cookie, its name and value, or the line Cookie', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'entra-auth-explain-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const material = 'a-key-of-this-test-that-is-long-enough'
    writeFileSync(join(folder, 'one.key'), `${material}\n`)
    const key = createSealingKey(Buffer.from(material))
    const cookie = cookieOf({}, { sealing: key, get: () => key })
    const file = (sealing: string) =>
      JSON.stringify({
        ...fixtureConfig(service.authority.url, { config }),
        signIn: { ...signIn, sealingKeys: sealing },
      })
    const run = (stdin: string, sealing = folder, more: readonly string[] = []) =>
      runCommand(
        (io: CommandIo) => {
          const program = new Command('haproxy-entra-auth')
          addExplainCommand(program, io)
          const args = ['explain', '--config', '/c.yaml', '--policy', 'portal', ...more]
          return program.parseAsync(args, { from: 'user' })
        },
        {
          files: { '/c.yaml': file(sealing), '/nowhere/secret': 'secret' },
          stdin,
          now: () => service.time.nowMs,
        },
      )
    for (const text of [
      cookie,
      `${cookie}\n`,
      `__Host-entra-session=${cookie}`,
      `Cookie: theme=dark; __Host-entra-session=${cookie}; other=1\r\n`,
    ]) {
      const ran = await run(text)
      assert.match(ran.stdout, /^policy portal: allow 200\n/, ran.stderr)
      assert.equal(ran.code, 0)
      assert.ok(!ran.stdout.includes(cookie.slice(0, 20)))
    }
    const elsewhere = await run(cookie, folder, ['--host', otherHost, '--json'])
    assert.equal(elsewhere.code, 1)
    assert.equal(JSON.parse(elsewhere.stdout).reason, 'no_session')
    // With two, /verify does not know which one is meant.
    const twice = await run(
      `Cookie: __Host-entra-session=${cookie}; __Host-entra-session=${cookie}`,
    )
    assert.match(twice.stdout, /^policy portal: deny 401 no_session\n/, twice.stderr)
    assert.match(twice.stdout, /more than one cookie of a session/)
    // Beside a token, only the token counts.
    const token = 'eyJhbGciOiJub25lIn0.eyJvaWQiOiJub25lIn0.c2lnbmF0dXJl'
    const both = await run(`Authorization: Bearer ${token}\nCookie: __Host-entra-session=${cookie}`)
    assert.match(both.stdout, /one bearer token was sent/, both.stderr)
    assert.doesNotMatch(both.stdout, /it is a session/)
    // Without keys it is not known who it is; and no key is made for it.
    const empty = mkdtempSync(join(tmpdir(), 'entra-auth-explain-'))
    t.after(() => rmSync(empty, { recursive: true }))
    const without = await run(cookie, empty)
    assert.deepEqual([without.code, without.stdout], [78, ''])
    assert.match(
      without.stderr,
      /^error: signIn\.sealingKeys: .* has no key; run it on the machine/,
    )
    // Something else is a token, as ever.
    assert.match((await run('a.b.c')).stdout, /token_malformed/)
  })
})
