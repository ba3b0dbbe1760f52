/** Pages of other sites, over TLS: what a person may come across while signed in at ours. */
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import type { Life } from '../serve/process.ts'

/** A page of the domain of our hosts, to which browsers send a cookie with `SameSite=Lax`. */
export const siblingHost = 'blog.contoso.test'
/** A page of another domain. */
export const foreignHost = 'foreign.test'

/** Starts both on one port of 127.0.0.1; returns `127.0.0.1:PORT`. Every path shows the same page. */
export async function startOtherSites(t: Life): Promise<string> {
  const { cert, key } = await createTlsIdentity(Date.now, randomBytes, [siblingHost, foreignHost])
  const server = createServer({ cert, key }, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
    response.end('<!doctype html><html lang="en"><title>Another site</title><body><h1>Hello</h1>')
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.after(() => {
    server.closeAllConnections()
    return new Promise((done) => server.close(done))
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}
