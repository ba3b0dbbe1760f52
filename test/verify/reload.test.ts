import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { createSignatureEngine } from '../../src/token/signature.ts'
import type { AuditSink } from '../../src/verify/audit-log.ts'
import { readRequest } from '../../src/verify/request.ts'
import { compileRules } from '../../src/verify/rules.ts'
import { createTokenCache } from '../../src/verify/token-cache.ts'
import { createVerifier } from '../../src/verify/verifier.ts'
import { eventually } from '../support/eventually.ts'
import { holdKey } from '../support/held-key.ts'
import { ids } from '../support/ids.ts'
import {
  type ConfigFile,
  fixtureConfig,
  loadFile,
  type Service,
  startService,
  verify,
} from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

/** A request that waits for the look-up of its key while `reload` is put in force. */
async function verifyDuring(service: Service, reload: ConfigFile) {
  const held = holdKey(service.authority)
  const answered = verify(service, 'default', v2User({}, { key: held.key }))
  await held.isAskedFor()
  await service.app.reload(await loadFile(reload))
  held.release()
  return answered
}

describe('a request that waits for a key while a reload comes into force', () => {
  async function start(t: TestContext, audit?: AuditSink) {
    const service = await startService({ audit })
    t.after(() => service.close())
    const file = (policy: ConfigFile) => fixtureConfig(service.authority.url, { policy })
    return { service, file }
  }

  it('is refused by a rule that is new', async (t) => {
    const { service, file } = await start(t)
    const reply = await verifyDuring(service, file({ deny: [{ users: [ids.user] }] }))
    assert.deepEqual([reply.status, reply.reason], [403, 'denied_by_rule'])
  })

  it('is refused where its policy is gone', async (t) => {
    const { service, file } = await start(t)
    const { policies, ...rest } = file({}) as { policies: { default: object } }
    const reply = await verifyDuring(service, { ...rest, policies: { other: policies.default } })
    assert.deepEqual([reply.status, reply.reason], [404, 'unknown_policy'])
  })

  it('is refused without a caller key that is asked for from now on', async (t) => {
    const { service, file } = await start(t)
    const reply = await verifyDuring(service, { ...file({}), callerKeyFile: '/key' })
    assert.deepEqual([reply.status, reply.reason], [403, 'caller_not_allowed'])
  })

  it('is admitted under the new version, and stands in the audit once', async (t) => {
    const lines: object[] = []
    const { service, file } = await start(t, { info: (fields) => void lines.push(fields) })
    const reply = await verifyDuring(service, file({ cacheSeconds: 7 }))
    assert.equal(reply.status, 200)
    assert.equal(reply.headers['cache-control'], 'private, max-age=7')
    const later = await verify(service, 'default', v2User())
    assert.equal(reply.headers['x-entra-auth-version'], later.headers['x-entra-auth-version'])
    assert.equal(lines.length, 2)
  })
})

describe('the memory of a cached token', () => {
  it('holds neither former rules nor former lists of revocations', async (t) => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const service = await startService()
    t.after(() => service.close())
    const config = await loadFile(fixtureConfig(service.authority.url))
    const cache = createTokenCache(() => true)
    let list = createRevocationList([])
    const verifier = createVerifier({
      clock: () => service.time.nowMs,
      engine: createSignatureEngine(),
      cache,
      revocations: () => list,
    })
    const rulesSeen: WeakRef<object>[] = []
    const listsSeen: WeakRef<object>[] = []
    async function useToken(index: number): Promise<void> {
      const rules = compileRules(config, service.app.authorities)
      list = createRevocationList([])
      rulesSeen.push(new WeakRef(rules))
      listsSeen.push(new WeakRef(list))
      const policy = rules.policies.get('default')
      assert.ok(policy)
      const request = readRequest(['Authorization', `Bearer ${v2User({ uti: `token-${index}` })}`])
      // From the second time on all of it is kept.
      for (let sent = 0; sent < 3; sent++) {
        assert.equal((await verifier.verify(rules, policy, request)).allow, true)
      }
    }
    for (let index = 0; index < 5; index++) await useToken(index)
    assert.equal(cache.hits > 0, true)
    const alive = (seen: readonly WeakRef<object>[]) => seen.filter((ref) => ref.deref()).length
    // What a look at a reference has seen lives until the end of the turn.
    await eventually(
      async () => {
        await nextTurn()
        collect()
        return [alive(rulesSeen), alive(listsSeen)]
      },
      ([rules = 9, lists = 9]) => rules <= 1 && lists <= 1,
    )
    assert.equal(cache.size, 5)
  })
})
