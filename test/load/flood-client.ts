/**
 * Sends one forged token after the other, all different, while it is told to: a process of its own,
 * and the least urgent of the machine, so that it takes no time that others need. Its parent sends
 * `start`, `stop` and `count`; the last is answered with the number of answers by status.
 *
 *     flood-client.ts PORT ADDRESS REQUESTS-PER-SECOND TOKEN
 */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { setPriority } from 'node:os'

const [port = '', localAddress = '', perSecond = '', token = ''] = process.argv.slice(2)
const tickMs = 10
const connections = 10

setPriority(19)
// Signed by a known key, it says: the verifier has to compute to see that it is not.
const signed = token.slice(0, token.lastIndexOf('.'))
const counts: Record<string, number> = {}
const sockets: (Socket | undefined)[] = Array(connections).fill(undefined)
let isOn = false
let turn = 0
let owed = 0

function open(index: number): Socket {
  const socket = connect({ host: '127.0.0.1', port: Number(port), localAddress })
  socket.setEncoding('latin1').on('data', (text: string) => {
    for (const [, status = ''] of text.matchAll(/HTTP\/1\.1 (\d{3})/g)) {
      counts[status] = (counts[status] ?? 0) + 1
    }
  })
  socket.on('error', () => socket.destroy())
  socket.on('close', () => {
    sockets[index] = undefined
  })
  return socket
}

function forged(): string {
  const forgery = `${signed}.${randomBytes(256).toString('base64url')}`
  return `GET / HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer ${forgery}\r\n\r\n`
}

setInterval(() => {
  if (!isOn) return
  owed += (Number(perSecond) * tickMs) / 1000
  for (; owed >= 1; owed--) {
    const index = turn++ % connections
    const socket = sockets[index] ?? open(index)
    sockets[index] = socket
    // Who answers late gets no more for the time being.
    if (!socket.writableNeedDrain) socket.write(forged())
  }
}, tickMs)

process.on('message', (message) => {
  if (message === 'count') process.send?.(counts)
  else isOn = message === 'start'
})
process.on('disconnect', () => process.exit())
