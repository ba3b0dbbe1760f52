/**
 * HAProxy interrupts Lua every so many instructions (tune.lua.forced-yield) and runs other requests
 * in the same Lua state meanwhile.
 */
import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { pollingFast, readMetrics, startCacheStack } from './cache-stack.ts'
import { values } from './client.ts'
import { alice, allowFor, type Revocation, revocations } from './fake-verifier.ts'

/** Counts the entries of the cache by themselves, in both directions of the list and by key. */
const recount = `
core.register_service("recount", "http", function(applet)
    local text = "nothing"
    string.gsub("x", "x", function()
        local up, down, keys, bytes = 0, 0, 0, 0
        local entry = oldest
        while entry and up < 100000 do up = up + 1 bytes = bytes + entry.size entry = entry.newer end
        entry = newest
        while entry and down < 100000 do down = down + 1 entry = entry.older end
        for _, bucket in pairs(buckets) do for _ in pairs(bucket) do keys = keys + 1 end end
        text = ("%s %s %d %d %d %d"):format(
            tostring(numbers.entries), tostring(numbers.bytes), up, down, keys, bytes)
    end)
    applet:set_status(200)
    applet:add_header("content-length", tostring(#text))
    applet:start_response()
    applet:send(text)
end)
`

interface Count {
  readonly entries: number
  readonly bytes: number
  readonly recounted: readonly number[]
  readonly recountedBytes: number
}

async function recountCache(url: string): Promise<Count> {
  const text = await (await fetch(url)).text()
  const [entries = -1, bytes = -1, up = -2, down = -2, keys = -2, sum = -2] = text
    .split(' ')
    .map(Number)
  return { entries, bytes, recounted: [up, down, keys], recountedBytes: sum }
}

describe('the cache, interrupted', () => {
  for (const instructions of [10, 30, 100, 250]) {
    it(`every ${instructions} instructions, keeps its counts right and loses nothing`, async (t) => {
      const stack = await startCacheStack({
        env: { ENTRA_AUTH_CACHE_ENTRIES: '20' },
        // With `debug`, the action is interrupted in fewer places.
        editLua: (text) => `debug = nil ${pollingFast(text)}${recount}`,
        editConfig: (text) =>
          text
            .replace(
              'zero-warning',
              `zero-warning\n    nbthread 1\n    tune.lua.forced-yield ${instructions}`,
            )
            .replace(
              'http-request use-service lua.entra-auth-metrics',
              'http-request use-service lua.recount if { path /recount }\n    http-request use-service lua.entra-auth-metrics',
            ),
      })
      t.after(() => stack.stop())
      // Another state of revocations and another version again and again, so that all paths run.
      let version = 1
      let polls = 0
      stack.verifier.feed = (call) => {
        polls++
        if (polls % 20 === 0) version++
        const revoked: Revocation[] = Array.from({ length: polls % 5 }, (_, index) => ({
          kind: 'user',
          id: `contoso-tid/user-${index}`,
          before: 1_800_000_000,
          until: 4_000_000_000,
        }))
        return revocations(revoked, `version-${version}`)(call)
      }
      stack.verifier.script = (call) => {
        const user = (values(call, 'authorization')[0] ?? '').slice('Bearer '.length)
        return allowFor(1, { ...alice, 'X-Auth-Request-User': user }).replace(
          'version-1',
          `version-${version}`,
        )
      }
      await stack.untilRemembered('user-a')
      const before = await readMetrics(stack)
      const agent = new Agent({ keepAlive: true, maxSockets: 20 })
      t.after(() => agent.destroy())
      const tokens = 90
      const wrong: string[] = []
      let sent = 0
      const send = async (lane: number) => {
        for (let index = 0; index < 100; index++) {
          // Half of the requests for a few tokens, the others for all.
          const token = `user-${index % 2 ? lane % 7 : (lane * 31 + index * 17) % tokens}`
          sent++
          const reply = await stack.askFor(token, { agent })
          const seen = reply.status === 200 ? JSON.parse(reply.body) : undefined
          if (reply.status !== 200) wrong.push(`${reply.status} ${reply.body}`)
          else if (!JSON.stringify(seen).includes(`"${token}"`)) wrong.push(`not ${token}`)
        }
      }
      await Promise.all(Array.from({ length: 20 }, (_, lane) => send(lane)))
      assert.deepEqual(wrong, [])
      const url = stack.haproxy.metricsUrl.replace('/metrics', '/recount')
      const { entries, bytes, recounted, recountedBytes } = await recountCache(url)
      assert.deepEqual(recounted, [entries, entries, entries])
      assert.equal(recountedBytes, bytes)
      assert.ok(entries <= 20, `${entries} entries`)
      const after = await readMetrics(stack)
      const counted = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0)
      assert.equal(counted('requests_total'), sent)
      assert.equal(counted('cache_hits_total') + counted('cache_misses_total'), sent)
      assert.ok(counted('cache_hits_total') > 0 && counted('cache_evictions_total') > 0)
      // All of them expire, and the sweep finds each.
      await eventually(
        () => recountCache(url),
        (count) => count.entries === 0,
        8000,
      )
    })
  }
})
