import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { FaultKind } from '../../src/dev-entra/faults.ts'
import type { Authority } from '../serve/authority.ts'
import { type Chain, startChain } from './chain.ts'
import { short } from './form.ts'
import {
  countInvalid,
  countResults,
  countValid,
  judge,
  type Kinds,
  startTraffic,
  type Traffic,
  untilAdmitted,
  usualKinds,
} from './traffic.ts'

/** Longer than both intervals at which a verifier asks for keys anew, 5 and 10 minutes. */
const refreshSeconds = 11 * 60

const perSecond = 40

interface Fault {
  readonly name: string
  readonly begin: (chain: Pick<Chain, 'authority' | 'shutAuthority'>) => Promise<void>
  readonly end: (chain: Chain) => Promise<void>
  /** The authority hands out other keys under the names of its own, and is believed. */
  readonly liesAboutKeys?: true
  /** The keys come all the same. */
  readonly isHarmless?: true
}

function fault(name: string, kind: FaultKind, more: Partial<Fault> = {}, body: object = {}): Fault {
  const targets = kind === 'wrong-keys' ? ['keys'] : ['metadata', 'keys']
  return {
    name,
    async begin({ authority }) {
      for (const target of targets) await authority.call('/dev/fault', { kind, target, ...body })
    },
    end: ({ authority }) => authority.call('/dev/reset'),
    ...more,
  }
}

const faults: readonly Fault[] = [
  {
    name: 'is down',
    begin: ({ shutAuthority }) => shutAuthority(),
    end: ({ openAuthority }) => openAuthority(),
  },
  fault('answers after a second', 'slow', { isHarmless: true }, { ms: 1_000 }),
  fault('hangs', 'hang'),
  fault('sends half a reply', 'half'),
  fault('sends HTML', 'html'),
  fault('answers 500', '500'),
  fault('redirects', 'redirect'),
  fault('sends an empty set', 'empty'),
  fault('sends 16 MiB', 'huge'),
  fault('sends wrong keys', 'wrong-keys', { liesAboutKeys: true }),
]

// They mostly wait, so several stacks fit side by side.
const concurrency = 3

describe('the key endpoint, from the start,', { concurrency }, () => {
  for (const { name, begin, end, liesAboutKeys, isHarmless } of faults) {
    it(`${name}: nobody passes before it has keys, and then everybody`, async (t) => {
      const chain = await startChain(t, { clock: 'wall and timers', beforeStart: begin })
      const kinds = await usualKinds(chain.authority)
      if (isHarmless) {
        await untilAdmitted(chain)
      } else {
        const during = startTraffic(chain, { kinds, perSecond })
        await during.more(short ? 100 : 400)
        await during.end()
        assert.equal(countResults(during.sent)['200'], undefined)
        await end(chain)
        // It holds keys, if wrong ones, and asks again when it always would.
        if (liesAboutKeys) chain.clock.set(refreshSeconds)
        await untilAdmitted(chain)
        await judgeRecovered(chain, kinds, (after) => judge(t, chain, during, after))
        return
      }
      await judgeRecovered(chain, kinds, (after) => judge(t, chain, after))
    })
  }
})

describe('the key endpoint, during a rotation,', { concurrency }, () => {
  for (const { name, begin, end, liesAboutKeys, isHarmless } of faults) {
    it(`${name}: known keys go on, the new one is admitted once it can be read`, async (t) => {
      const chain = await startChain(t, { clock: 'wall and timers' })
      const { authority } = chain
      const kinds = await kindsOfRotation(authority)
      const before = startTraffic(chain, { kinds, perSecond })
      await before.more(80)
      await before.end()
      await begin(chain)
      await authority.call('/dev/rotate')
      // The fault meets the look-up of the new key, and the refresh of all keys.
      if (!isHarmless) chain.clock.set(refreshSeconds)
      if (!isHarmless && !liesAboutKeys) {
        await chain.verifier.process.waitForLog(
          ({ msg, version }) => msg === 'keys not read' && version === '2.0',
        )
      }
      const during = startTraffic(chain, { kinds: withNewKey(kinds, authority), perSecond })
      await during.more(short ? 150 : 600)
      await during.end()
      if (!liesAboutKeys) {
        assert.deepEqual(Object.keys(countResults(during.sent, 'known', 'new')), ['200'])
      }
      if (!isHarmless) assert.equal(countResults(during.sent, 'newKey')['200'], undefined)
      await end(chain)
      if (!isHarmless) chain.clock.set(2 * refreshSeconds)
      await untilAdmitted(chain)
      await judgeRecovered(chain, withNewKey(kinds, authority), (after) =>
        judge(t, chain, before, during, after),
      )
    })
  }

  it('changes its keys every two seconds: known keys go on, and the last one is admitted', async (t) => {
    const chain = await startChain(t, { clock: 'wall and timers' })
    const { authority } = chain
    const kinds = withNewKey(await usualKinds(authority), authority)
    const during = startTraffic(chain, { kinds, perSecond })
    for (let rotation = 0; rotation < 5; rotation++) {
      await during.more(2 * perSecond)
      await authority.call('/dev/rotate')
    }
    await during.end()
    assert.deepEqual(Object.keys(countResults(during.sent, 'known')), ['200'])
    chain.clock.set(refreshSeconds)
    await untilAdmitted(chain)
    await judgeRecovered(chain, kinds, (after) => judge(t, chain, during, after))
  })
})

/** New tokens are signed with the key before the current one, which each verifier has. */
async function kindsOfRotation(authority: Authority): Promise<Kinds> {
  const { new: fresh, ...kinds } = await usualKinds(authority)
  assert.ok(fresh?.identity)
  const token = () => authority.token('gina', { key: 'previous' })
  return { ...kinds, new: { identity: fresh.identity, token } }
}

/** And new tokens that are signed with the current key. */
function withNewKey(kinds: Kinds, authority: Authority): Kinds {
  const identity = kinds.known?.identity
  assert.ok(identity)
  return { ...kinds, newKey: { identity, token: () => authority.token('alice') } }
}

/** After a fault: each valid token is admitted and each other one refused, without anybody's help. */
async function judgeRecovered(
  chain: Chain,
  kinds: Kinds,
  judgeAll: (after: Traffic) => void,
): Promise<void> {
  const after = startTraffic(chain, { kinds, perSecond })
  await after.more(120)
  await after.end()
  judgeAll(after)
  assert.deepEqual(Object.keys(countValid(after)), ['200'])
  assert.deepEqual(Object.keys(countInvalid(after)), ['401'])
}
