/** The thread that loads a configuration for a reload; see config-thread.ts. */
import { readFile } from 'node:fs/promises'
import { platform, setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { loadAndRecord } from '../config/reload.ts'
import type { ThreadSource } from './config-thread.ts'
import { decodeText } from './token-input.ts'

/** Not the kind that blocks: a thread that waits for a disk could not be ended. */
const readText = async (path: string) => decodeText(await readFile(path))

// On Linux this is of the calling thread alone: where processors are few, requests come first.
if (platform() === 'linux') setPriority(10)

const source = { ...(workerData as ThreadSource), readFile: readText }
parentPort?.postMessage(await loadAndRecord(source))
