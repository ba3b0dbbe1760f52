/** HAProxy's master process, asked over its own socket (`-S`). */
import { connect } from 'node:net'
import { eventually } from './eventually.ts'

/**
 * The process id of the worker that takes new connections, as soon as the master answers. From then on
 * no signal is lost: HAProxy says "Loading success" some milliseconds before it listens to any.
 */
export async function untilMasterAnswers(master: number): Promise<string> {
  const worker = await eventually(
    () => findWorker(master),
    (pid) => pid !== undefined,
    60_000,
  )
  return worker ?? ''
}

/** The worker that took over from all `former` ones. */
export async function untilNextWorker(
  master: number,
  former: ReadonlySet<string>,
): Promise<string> {
  const worker = await eventually(
    () => findWorker(master),
    (pid) => pid !== undefined && !former.has(pid),
    60_000,
  )
  return worker ?? ''
}

async function findWorker(master: number): Promise<string | undefined> {
  const answer = await askMaster(master, 'show proc').catch(() => '')
  const [, current] = /# workers\n([^#]*)/.exec(answer) ?? []
  return current?.match(/^(\d+)\s+worker/m)?.[1]
}

/** One command of the master's socket on 127.0.0.1, and its answer. */
export function askMaster(master: number, text: string): Promise<string> {
  return new Promise((done, fail) => {
    let answer = ''
    const socket = connect(master, '127.0.0.1', () => socket.end(`${text}\n`))
    socket.on('data', (chunk) => {
      answer += chunk
    })
    socket.on('error', fail)
    socket.on('close', () => done(answer))
  })
}
