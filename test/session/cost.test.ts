import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { openSession } from '../../src/session/session.ts'
import { createSignatureEngine } from '../../src/token/signature.ts'
import { verifyToken } from '../../src/token/verify-token.ts'
import { ids } from '../support/ids.ts'
import { type Service, startService } from '../support/service.ts'
import { cookieOf, sealingKeys } from '../support/sessions.ts'
import { v2User } from '../support/tokens.ts'

let service: Service
before(async () => {
  service = await startService()
})
after(() => service.close())

/** Least CPU time of one call in several rounds, in µs: others use the machine too. */
async function costOf(call: () => unknown): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let round = 0; round < 8; round++) {
    const before = process.cpuUsage()
    for (let i = 0; i < 300; i++) await call()
    const { user, system } = process.cpuUsage(before)
    least = Math.min(least, (user + system) / 300)
  }
  return least
}

describe('the cost of a session', () => {
  it('is less than half of verifying a token', async () => {
    const engine = createSignatureEngine()
    const { authorities } = service.app
    const token = v2User()
    const cookie = cookieOf({ groups: [ids.group, ids.otherGroup], roles: ['Portal.Admin'] })
    // Others use the machine too: one good comparison of three is enough.
    const seen: string[] = []
    for (let attempt = 0; attempt < 3; attempt++) {
      const opening = await costOf(() => openSession(sealingKeys, cookie))
      const verifying = await costOf(() => verifyToken(token, authorities, engine))
      if (opening < verifying / 2) return
      seen.push(`${opening} µs against ${verifying} µs`)
    }
    assert.fail(seen.join(', '))
  })
})
