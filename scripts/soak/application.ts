/** Thread: the application. It counts whoever comes under another identity than the one expected. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parentPort } from 'node:worker_threads'

let arrived = 0
let wrong = 0
const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
  request.resume()
  arrived++
  if (request.headers['x-expected-user'] !== request.headers['x-auth-request-user']) wrong++
  response.end('seen\n')
})
server.listen(0, '127.0.0.1', () => {
  parentPort?.postMessage({ port: (server.address() as AddressInfo).port })
})
parentPort?.on('message', () => parentPort?.postMessage({ arrived, wrong }))
