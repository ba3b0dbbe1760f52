import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { describeChanges, summarize } from '../../src/config/changes.ts'
import { wordDenyRule, wordGrant } from '../../src/policy/words.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { type ConfigFile, fixtureConfig, loadFile } from '../support/service.ts'

const words = { grant: wordGrant, denyRule: wordDenyRule }
const authority = 'http://127.0.0.1:8400'

function file(policy: ConfigFile = {}, config: ConfigFile = {}): ConfigFile {
  return fixtureConfig(authority, { policy, config })
}

async function changes(before: ConfigFile, after: ConfigFile): Promise<readonly string[]> {
  return describeChanges(await loadFile(before), await loadFile(after), words)
}

const read = { actor: 'user', scopes: ['Orders.Read'] }
const write = { actor: 'user', scopes: ['Orders.Write'] }
const worker = { actor: 'app', roles: ['Orders.Process'] }

describe('what a reload changed', () => {
  it('is nothing where the file is the same', async () =>
    assert.deepEqual(await changes(file(), file()), []))

  it('names each added and each removed grant in words', async () => {
    const found = await changes(file({ allow: [read, worker] }), file({ allow: [worker, write] }))
    assert.deepEqual(found, [
      'policies.default.allow[0] removed: users with the scope Orders.Read',
      'policies.default.allow[1] added: users with the scope Orders.Write',
    ])
  })

  it('counts the same grant twice as two', async () => {
    const found = await changes(file({ allow: [read, read] }), file({ allow: [read] }))
    assert.deepEqual(found, ['policies.default.allow[1] removed: users with the scope Orders.Read'])
  })

  it('says when only the order is another one', async () => {
    const found = await changes(file({ allow: [read, worker] }), file({ allow: [worker, read] }))
    assert.deepEqual(found, ['policies.default: another order of the same rules'])
  })

  it('names deny rules, audiences, tenants and settings of a policy', async () => {
    const after = file({
      deny: [{ roles: ['Banned'] }],
      audiences: [ids.api],
      tenants: ['contoso', 'fabrikam'],
      cacheSeconds: 60,
      reportOnlyUntil: '2031-01-31',
    })
    assert.deepEqual(await changes(file(), after), [
      'policies.default.deny[0] added: everybody with the role Banned',
      `policies.default.audiences removed: ${appIdUri}`,
      `policies.default.tenants added: ${ids.fabrikam}`,
      'policies.default.cacheSeconds: 30, in HAProxy 300 → 60',
      'policies.default.reportOnlyUntil: not set → 2031-01-31T00:00:00.000Z',
    ])
  })

  it('names policies and tenants that came and went', async () => {
    const policies = { stock: { audiences: ['api://stock'], allow: [read, worker] } }
    const tenants = { contoso: { id: ids.contoso, authority: 'http://127.0.0.1:8401' } }
    assert.deepEqual(await changes(file(), file({}, { policies, tenants })), [
      'policies.default removed',
      'policies.stock added: users with the scope Orders.Read; apps with the role Orders.Process',
      `tenants.fabrikam removed: ${ids.fabrikam}`,
      'tenants.contoso.authority: http://127.0.0.1:8400 → http://127.0.0.1:8401',
    ])
    const back = await changes(file({}, { policies, tenants }), file())
    assert.ok(back.includes(`tenants.fabrikam added: ${ids.fabrikam}`))
  })

  it('names other settings, and of keys only that there are others', async () => {
    const after = file(
      {},
      {
        clockSkewSeconds: 60,
        identityHeaders: 'remote-user',
        callerKeyFile: '/run/key',
        admin: { adminKeyFile: '/run/key' },
        log: { refusalsPerSecond: 5 },
      },
    )
    const found = await changes(file(), after)
    assert.deepEqual(found, [
      'callerKeyFile: another key',
      'admin.adminKeyFile: another key',
      'clockSkewSeconds: 300 → 60',
      'identityHeaders: x-auth-request → remote-user',
      'log.refusalsPerSecond: 10000 → 5',
    ])
    assert.doesNotMatch(found.join(), /fixture-caller-key/)
  })

  it('fits into one line of the log, whatever changed', async () => {
    const roles = Array.from({ length: 150 }, (_, i) => ({ actor: 'app', roles: [`R${i}`] }))
    const long = { actor: 'app', roles: Array.from({ length: 200 }, (_, i) => `Role.${i}`) }
    const found = summarize(await changes(file(), file({ allow: [long, ...roles] })))
    assert.equal(found.length, 101)
    assert.match(found.at(-1) ?? '', /^and \d+ more changes$/)
    assert.ok(found.every((text) => text.length <= 1_000))
  })
})
