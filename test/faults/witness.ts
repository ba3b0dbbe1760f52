/** The application behind HAProxy, which notes what reached it and under which identity. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Life } from '../serve/process.ts'

export interface Witness {
  /** `127.0.0.1:PORT` */
  readonly address: string
  /** The `X-Sent-Id` of each request that arrived, with the identity that it came with. */
  readonly arrivals: ReadonlyMap<string, string>
}

/** Starts the application; the client names each request in `X-Sent-Id`. */
export async function startWitness(t: Life): Promise<Witness> {
  const arrivals = new Map<string, string>()
  const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
    request.resume()
    const { headers } = request
    const identity = `${headers['x-auth-request-tenant']}/${headers['x-auth-request-user']}`
    arrivals.set(String(headers['x-sent-id']), identity)
    response.end('seen\n')
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, arrivals }
}
