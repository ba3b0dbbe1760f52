/** Fake verifier, echo application and a real HAProxy between them, started and stopped together. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import {
  type Haproxy,
  shippedConfig,
  shippedLua,
  startHaproxy,
} from '../../scripts/local-stack/haproxy.ts'
import { type Ask, ask, type Reply } from './client.ts'
import { type FakeVerifier, type Script, startFakeVerifier } from './fake-verifier.ts'

export interface Stack {
  readonly verifier: FakeVerifier
  readonly app: EchoApp
  readonly haproxy: Haproxy
  ask(what?: Ask): Promise<Reply>
  /** Forgets calls, requests and the script of the test before. */
  reset(): void
  stop(): Promise<void>
}

export interface StackOptions {
  /** Changes a copy of the shipped configuration or action; must change something. */
  readonly editConfig?: (text: string) => string
  readonly editLua?: (text: string) => string
  readonly env?: Readonly<Record<string, string>>
  readonly acceptUpgrade?: RegExp
  /** What /revocations says from the start; default: 404, and nothing is remembered. */
  readonly feed?: Script
}

export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const folder = await mkdtemp(join(tmpdir(), 'entra-auth-e2e-'))
  const verifier = await startFakeVerifier()
  if (options.feed) verifier.feed = options.feed
  const app = await startEchoApp(
    options.acceptUpgrade ? { acceptUpgrade: options.acceptUpgrade } : {},
  )
  const stopRest = async () => {
    await Promise.all([verifier.stop(), app.stop()])
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const config = await edited(shippedConfig, options.editConfig, join(folder, 'haproxy.cfg'))
    const haproxy = await startHaproxy({
      verifier: verifier.address,
      application: app.address,
      configs: [config],
      lua: await edited(shippedLua, options.editLua, join(folder, 'entra-auth.lua')),
      env: { ...(await fastLane(config)), ...options.env },
    })
    const script = verifier.script
    return {
      verifier,
      app,
      haproxy,
      ask: (what) => ask(haproxy.port, what),
      reset() {
        verifier.script = script
        verifier.calls.length = 0
        verifier.polls.length = 0
        app.requests.length = 0
      },
      async stop() {
        await haproxy.stop()
        await stopRest()
      },
    }
  } catch (error) {
    await stopRest()
    throw error
  }
}

/** A test that changes the line of the action is about the action, also where there is a fast lane. */
async function fastLane(config: string): Promise<Record<string, string>> {
  const isPlain = /^ +http-request lua\.entra-auth orders$/m.test(await readFile(config, 'utf8'))
  return isPlain ? {} : { ENTRA_AUTH_FAST_LANE: 'off' }
}

/** The complaint with which HAProxy refuses to start; fails, and cleans up, when it does start. */
export async function complaintOfStart(options: StackOptions): Promise<string> {
  let stack: Stack
  try {
    stack = await startStack(options)
  } catch (error) {
    return (error as Error).message
  }
  await stack.stop()
  throw new Error('HAProxy starts, and should not')
}

async function edited(
  path: string,
  edit: ((text: string) => string) | undefined,
  copy: string,
): Promise<string> {
  if (!edit) return path
  const text = await readFile(path, 'utf8')
  const changed = edit(text)
  if (changed === text) throw new Error(`the edit of ${path} changes nothing: adapt the test`)
  await writeFile(copy, changed)
  return copy
}

/** Replaces a text that must be there. */
export function replacing(what: string | RegExp, by: string): (text: string) => string {
  return (text) => text.replace(what, () => by)
}
