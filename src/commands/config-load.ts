/** The thread that loads a configuration for a reload; see config-thread.ts. */
import { readFileSync } from 'node:fs'
import { platform, setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { loadAndRecord } from '../config/reload.ts'
import type { ThreadSource } from './config-thread.ts'
import { decodeText } from './token-input.ts'

const readFile = (path: string) => decodeText(readFileSync(path))

// On Linux this is of the calling thread alone: where processors are few, requests come first.
if (platform() === 'linux') setPriority(10)

parentPort?.postMessage(await loadAndRecord({ ...(workerData as ThreadSource), readFile }))
