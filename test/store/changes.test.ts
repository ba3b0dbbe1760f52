/**
 * Many changes from two replicas, while one of them is killed and the store is restarted, paused and
 * failed over. 300 changes; `STORE_LONG=1` makes 2,000.
 */
import assert from 'node:assert/strict'
import { after, it } from 'node:test'
import { makeGate } from '../faults/gate.ts'
import { startAuthority } from '../serve/authority.ts'
import { makeFolder } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { startStoreServer } from './server.ts'
import {
  post,
  type Replica,
  reasonOf,
  revokeSomebody,
  startReplica,
  untilRefused,
} from './service.ts'

const changes = process.env.STORE_LONG ? 2_000 : 300

it(`${changes} changes from two replicas: each 201 is active on both, and no revoked user is admitted`, async (t) => {
  const authority = await startAuthority({ after })
  const folder = makeFolder({ after })
  const [first, second] = [await startStoreServer({ after }), await startStoreServer({ after })]
  // Asynchronous replication, as ever: what was not passed on yet is lost with the first one.
  await second.ask('REPLICAOF', '127.0.0.1', `${first.port}`)
  await eventually(
    () => second.ask('INFO', 'replication'),
    (info) => info.includes('master_link_status:up'),
  )
  const gate = await makeGate({ after })
  await gate.open(first.port)
  const store = { url: gate.origin.replace('http:', 'redis:') }
  const start = (name: string) => startReplica({ after }, authority, folder, name, store)
  const one = await start('one')
  let two: Replica | undefined = await start('two')

  const revoked = await Promise.all(Array.from({ length: 5 }, () => revokeSomebody(one, authority)))
  for (const token of revoked) await untilRefused([one, two], token)
  const admitted: string[] = []
  let looks = 0
  async function look(): Promise<void> {
    for (const [name, replica] of [
      ['one', one],
      ['two', two],
    ] as const) {
      const token = revoked[looks++ % revoked.length] ?? ''
      const reason = replica && (await reasonOf(replica, token).catch(() => 'no answer'))
      if (reason === 'allowed') admitted.push(`${name} after ${looks} looks`)
    }
  }

  const disturbances: Readonly<Record<number, () => Promise<void>>> = {
    15: async () => {
      const killed = two
      two = undefined
      killed?.service.kill('SIGKILL')
      await killed?.service.exited
      two = await start('two')
    },
    40: async () => {
      await first.kill('SIGKILL')
      await first.start()
    },
    60: async () => {
      await first.kill('SIGSTOP')
      await new Promise((over) => setTimeout(over, 2_500))
      await first.kill('SIGCONT')
    },
    80: async () => {
      await first.kill('SIGKILL')
      await second.ask('REPLICAOF', 'NO', 'ONE')
      await gate.shut()
      await gate.open(second.port)
    },
  }
  const accepted: string[] = []
  const statuses = new Map<number, number>()
  let disturbing: Promise<void> = Promise.resolve()
  for (let i = 0; i < changes / 2; i++) {
    const begin = disturbances[(i * 200) / changes]
    if (begin) disturbing = disturbing.then(begin)
    const change = async (replica: Replica | undefined, id: string) => {
      const status = replica ? await post(replica, { kind: 'token', id }) : 0
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      if (status === 201) accepted.push(id)
    }
    await Promise.all([change(one, `one-${i}`), change(two, `two-${i}`), i % 5 === 0 && look()])
  }
  await disturbing
  t.diagnostic(
    `${JSON.stringify(Object.fromEntries(statuses))}, ${looks} looks at whom was revoked before`,
  )

  // What is posted to one is in force on the other from here on, and so is all else.
  for (const replica of [one, two]) {
    await untilRefused([one, two as Replica], await revokeSomebody(replica as Replica, authority))
  }
  for (const { admin } of [one, two as Replica]) {
    await eventually(
      async () => {
        const { revocations } = (await (await fetch(admin)).json()) as {
          revocations: { id: string }[]
        }
        const seen = new Set(revocations.map(({ id }) => id))
        return accepted.filter((id) => !seen.has(id))
      },
      (missing) => missing.length === 0,
    )
  }
  // A replica that starts anew knows it from the store alone.
  const three = await start('three')
  const { revocations } = (await (await fetch(three.admin)).json()) as {
    revocations: { id: string }[]
  }
  const seen = new Set(revocations.map(({ id }) => id))
  assert.deepEqual(
    accepted.filter((id) => !seen.has(id)),
    [],
  )
  for (const token of revoked) await untilRefused([one, two as Replica, three], token)
  assert.deepEqual(admitted, [])
  assert.ok(accepted.length > changes / 4, `${accepted.length} accepted`)
})
