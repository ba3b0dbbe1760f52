import { randomInt } from 'node:crypto'
import { createServer, type Server } from 'node:net'

/** First and last port that may be drawn. */
interface Range {
  readonly lowest: number
  readonly highest: number
}

/** Linux gives outgoing connections a port from 32768 on, and a test makes thousands of them. */
const belowOutgoing: Range = { lowest: 10_000, highest: 31_999 }
const maxAttempts = 1_000

/** No port twice in one process: what it is for may not listen on it yet. */
const given = new Set<number>()

/**
 * Ports of 127.0.0.1 that nobody listens on, all different, and drawn by chance, since other
 * programs look for theirs at the same time. Throws where no port is left.
 */
export async function freePorts(count: number, range = belowOutgoing): Promise<number[]> {
  const { lowest, highest } = range
  const ports: number[] = []
  for (let attempt = 0; ports.length < count; attempt++) {
    if (attempt === maxAttempts) throw new Error(`no free port from ${lowest} to ${highest}`)
    const port = randomInt(lowest, highest + 1)
    if (given.has(port) || !(await reserve(port))) continue
    given.add(port)
    if (await isFree(port)) ports.push(port)
  }
  return ports
}

/**
 * Keeps the port for this process until it ends, against every other one that draws from here.
 * HAProxy binds with SO_REUSEPORT: two of them on one port share its connections, and neither says
 * so. The name of an abstract socket costs no file, and Linux frees it with the process.
 */
async function reserve(port: number): Promise<boolean> {
  if (process.platform !== 'linux') return true
  const holder = await listen({ path: `\0haproxy-entra-auth-port-${port}` })
  holder?.unref()
  return holder !== undefined
}

async function isFree(port: number): Promise<boolean> {
  const server = await listen({ port, host: '127.0.0.1' })
  if (!server) return false
  return new Promise((done) => server.close(() => done(true)))
}

function listen(where: { path: string } | { port: number; host: string }) {
  return new Promise<Server | undefined>((done) => {
    const server = createServer()
    server.once('error', () => done(undefined))
    server.listen(where, () => done(server))
  })
}
