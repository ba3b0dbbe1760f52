import { connect, type Socket } from 'node:net'
import type { Service } from './service.ts'

/** Sends bytes as they are and returns all that comes back until the service closes. */
export function exchange({ port }: Pick<Service, 'port'>, bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    let text = ''
    socket.setEncoding('latin1')
    socket.on('data', (chunk) => {
      text += chunk
    })
    // A reset after the answer is an end as good as any.
    socket.on('error', (error) => (text === '' ? reject(error) : resolve(text)))
    socket.on('close', () => resolve(text))
  })
}

/** A connection that stays open, for clients which do not hurry. */
export function open({ port }: Pick<Service, 'port'>): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket))
    socket.on('error', reject)
  })
}

/** A request that asks the service to close afterwards. */
export function rawRequest(target: string, headerLines: readonly string[] = []): string {
  return [
    `GET ${target} HTTP/1.1`,
    'Host: verifier',
    'Connection: close',
    ...headerLines,
    '',
    '',
  ].join('\r\n')
}
