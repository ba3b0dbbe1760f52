import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import type { AuditSink } from '../../src/verify/audit-log.ts'
import { tenantKey } from '../support/authority.ts'
import { eventually } from '../support/eventually.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { type ConfigFile, grants, type Service, startService, verify } from '../support/service.ts'
import { impostorOf } from '../support/signing-keys.ts'
import { v2User } from '../support/tokens.ts'

type Line = Readonly<Record<string, unknown>>

const traceId = '0af7651916cd43dd8448eb211c80319c'
const correlating = {
  'X-Request-Id': 'request-1',
  traceparent: `00-${traceId}-b7ad6b7169203331-01`,
  'X-Forwarded-Method': 'POST',
  'X-Forwarded-Host': 'app.example',
  'X-Forwarded-Uri': '/orders/1?secret=x',
  'X-Forwarded-For': '192.0.2.7',
}
const correlation = {
  requestId: 'request-1',
  traceId,
  forwarded: { method: 'POST', host: 'app.example', uri: '/orders/1', for: '192.0.2.7' },
}
const idsOfAlice = {
  tenant: ids.contoso,
  user: ids.user,
  client: ids.client,
  actor: 'user',
  tokenId: 'token-1',
}
const headers = (token: string) => ({ ...correlating, Authorization: `Bearer ${token}` })

const policies = {
  default: { audiences: [ids.api, appIdUri], allow: [grants.user] },
  second: { audiences: [ids.api, appIdUri], allow: [grants.user] },
}

async function start(config: ConfigFile = {}, audit?: AuditSink): Promise<Service> {
  const service = await startService({ config: { policies, ...config }, audit })
  after(() => service.close())
  return service
}

const linesOf = ({ log }: Service): Line[] => log.map((line) => JSON.parse(line))

function refusalsOf(service: Service): Line[] {
  return linesOf(service).filter(({ msg }) => msg === 'refused')
}

/** The line without what pino adds. */
function fieldsOf({ level, time, pid, hostname, ...fields }: Line): Line {
  assert.equal(typeof level, 'number')
  assert.equal(typeof time, 'number')
  return fields
}

describe('the line of a refusal', () => {
  it('has reason, policy, ids of the verified token and what correlates it', async () => {
    const service = await start()
    await verify(service, 'default', headers(v2User({ scp: 'Other', uti: 'token-1' })))
    assert.deepEqual(refusalsOf(service).map(fieldsOf), [
      {
        reason: 'scope_missing',
        policy: 'default',
        ...correlation,
        ...idsOfAlice,
        grant: 'policies.default.allow[0]',
        wanted: 'the scope Orders.Read',
        had: 'the scope Other',
        msg: 'refused',
      },
    ])
  })

  it('has the same from the one header of the action, and the usual headers come first', async () => {
    const service = await start()
    const one = { 'X-Entra-Auth-Prepared': '2\tPUT\tone.example\t/one?secret=x\t192.0.2.9' }
    await verify(service, 'default', one)
    await verify(service, 'default', { ...one, 'X-Forwarded-Host': 'app.example' })
    await verify(service, 'default', { 'X-Entra-Auth-Prepared': `2\t\t\t/${'p'.repeat(5000)}` })
    await verify(service, 'default', { 'X-Entra-Auth-Prepared': '2' })
    const uri = `/${'p'.repeat(255)}`
    assert.deepEqual(
      refusalsOf(service).map(({ forwarded }) => forwarded),
      [
        { method: 'PUT', host: 'one.example', uri: '/one', for: '192.0.2.9' },
        { host: 'app.example' },
        { uri },
        {},
      ],
    )
  })

  it('has no id of a token whose signature was not verified', async () => {
    const service = await start()
    const forged = v2User({ uti: 'token-1' }, { key: impostorOf(tenantKey(ids.contoso)) })
    await verify(service, 'default', headers(forged))
    assert.deepEqual(refusalsOf(service).map(fieldsOf), [
      { reason: 'signature_invalid', policy: 'default', ...correlation, msg: 'refused' },
    ])
  })
})

describe('a flood of refusals', () => {
  it('is a bounded number of lines, and one that says how many had none', async () => {
    const service = await start({ log: { refusalsPerSecond: 5 } })
    const total = 300
    for (let sent = 0; sent < total; sent++) await verify(service, 'default', {})
    await eventually(
      () => summarised(service, 'no_credentials') + refusalsOf(service).length,
      (accounted) => accounted === total,
    )
    // One second, or a few on a busy machine; one in a hundred is written beyond the limit.
    const windows = linesOf(service).filter(({ msg }) => /one by one/.test(String(msg))).length
    assert.ok(windows >= 1)
    assert.ok(refusalsOf(service).length <= (windows + 1) * 5 + total / 100)
    const { body } = await service.app.metrics.inject('/metrics')
    const suppressed = /^entra_auth_log_lines_suppressed_total (\d+)$/m.exec(body)?.[1]
    assert.equal(Number(suppressed), summarised(service, 'no_credentials'))
  })

  it('hides no refusal for another reason', async () => {
    const service = await start({ log: { refusalsPerSecond: 1 } })
    for (let sent = 0; sent < 20; sent++) await verify(service, 'default', {})
    await verify(service, 'default', v2User({ scp: 'Other' }))
    assert.equal(refusalsOf(service).filter(({ reason }) => reason === 'scope_missing').length, 1)
  })

  it('is summed up at the end of the service too', async () => {
    const service = await startService({ config: { log: { refusalsPerSecond: 0 } } })
    await verify(service, 'default', {})
    await service.close()
    assert.deepEqual(refusalsOf(service), [])
    assert.equal(summarised(service, 'no_credentials'), 1)
  })
})

/** How many refusals the log says it has left out. */
function summarised(service: Service, reason: string): number {
  return linesOf(service)
    .filter((line) => line.msg === 'refusals not logged one by one' && line.reason === reason)
    .reduce((sum, { suppressed }) => sum + Number(suppressed), 0)
}

describe('the audit', () => {
  function createSink(): AuditSink & { readonly lines: object[] } {
    const lines: object[] = []
    return { lines, info: (fields, msg) => void lines.push({ ...fields, msg }) }
  }

  it('has a line for the first allow of a token by a policy, and none for the next', async () => {
    const sink = createSink()
    const service = await start({}, sink)
    const token = v2User({ uti: 'token-1' })
    for (let sent = 0; sent < 3; sent++) await verify(service, 'default', headers(token))
    const line = { ...correlation, ...idsOfAlice, msg: 'allowed' }
    assert.deepEqual(sink.lines, [{ policy: 'default', ...line }])
    await verify(service, 'second', headers(token))
    await verify(service, 'second', headers(token))
    assert.deepEqual(sink.lines.slice(1), [{ policy: 'second', ...line }])
  })

  it('has none for a refusal, also of a token that another policy admits', async () => {
    const sink = createSink()
    const service = await start({}, sink)
    await verify(service, 'default', v2User({ scp: 'Other' }))
    await verify(service, 'default', {})
    assert.deepEqual(sink.lines, [])
  })

  it('is not kept unless it is asked for', async () => {
    const service = await start()
    await verify(service, 'default', v2User())
    assert.ok(linesOf(service).every(({ msg }) => msg !== 'allowed'))
  })
})
