/** The thread that loads a configuration for a reload; see config-thread.ts. */
import { readFile } from 'node:fs/promises'
import { platform, setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { loadAndRecord } from '../config/reload.ts'
import type { ThreadSource } from './config-thread.ts'
import { decodeText } from './token-input.ts'

/** Not the kind that blocks: a thread that waits for a disk could not be ended. */
const readText = async (path: string) => decodeText(await readFile(path))

if (platform() === 'linux') stepBack()

const source = { ...(workerData as ThreadSource), readFile: readText }
parentPort?.postMessage(await loadAndRecord(source))

/** On Linux this is of the calling thread alone: where processors are few, requests come first. */
function stepBack(): void {
  try {
    setPriority(10)
  } catch {
    // A filter of system calls may forbid it, as that of the systemd unit does. The load only takes a larger share.
  }
}
