import { type AddressInfo, createServer, type Server } from 'node:net'

/**
 * Ports of 127.0.0.1 that nobody listens on, all different. Another program may take one before it
 * is used, so whoever starts a program on them tries again with new ones.
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, listen))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))))
  return ports
}

function listen(): Promise<Server> {
  return new Promise((done, fail) => {
    const server = createServer()
    server.once('error', fail)
    server.listen(0, '127.0.0.1', () => done(server))
  })
}
