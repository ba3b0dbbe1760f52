import assert from 'node:assert/strict'
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import { describe, it } from 'node:test'
import { readMetrics, startCacheStack } from '../e2e/cache-stack.ts'
import { values } from '../e2e/client.ts'
import { allowFor, type Call, type Identity } from '../e2e/fake-verifier.ts'
import { waitingLong, waitingLongEnv, withNativeApplication } from './native-application.ts'

/** What each has and the other lacks would show if anything of one were left for the other. */
const identities: Readonly<Record<string, Identity>> = {
  alice: {
    'X-Auth-Request-User': 'alice',
    'X-Auth-Request-Tenant': 'contoso',
    'X-Auth-Request-Roles': 'reader',
    'X-Auth-Request-Groups': '',
  },
  bob: {
    'X-Auth-Request-User': 'bob',
    'X-Auth-Request-Tenant': 'fabrikam',
    'X-Auth-Request-Roles': '',
    'X-Auth-Request-Groups': 'staff,other-staff',
  },
}
const expected: Readonly<Record<string, string>> = {
  alice: 'alice contoso reader  1',
  bob: 'bob fabrikam  staff,other-staff 1',
}
const fields = ['user', 'tenant', 'roles', 'groups'].map(
  (name) => `%[req.fhdr(x-auth-request-${name})]`,
)
const format = `%[req.fhdr(x-number)] ${fields.join(' ')} %[req.fhdr_cnt(x-auth-request-user)] %[src_port]`

interface Numbered {
  readonly number: number
  readonly user: string
  readonly token: string
}

/** Every fifth token is new, so that verdicts under way and remembered ones meet all the time. */
function numberedRequests(count: number, seed: number): Numbered[] {
  return Array.from({ length: count }, (_, index) => {
    const number = seed * 1_000_000 + index
    const user = (index * 7919 + seed) % 5 < 2 ? 'alice' : 'bob'
    return { number, user, token: index % 5 === 0 ? `${user}.${number}` : user }
  })
}

/** Answers that are not exactly this request's own; what the application saw of its connections. */
class Book {
  readonly wrong: string[] = []
  readonly ports = new Set<string>()
  answered = 0

  note({ number, user }: Numbered, body: string, variable: string): void {
    this.answered++
    const [, text = '', port = ''] = /^(.*) (\d+)$/.exec(body) ?? []
    this.ports.add(port)
    if (text !== `${number} ${expected[user]}` || variable !== user) {
      this.wrong.push(`${number} of ${user}: "${body}", ${variable}`)
    }
  }
}

/** Sends requests in a row on one connection of HTTP/1.1, many before the first answer. */
function sendOverHttp1(port: number, requests: readonly Numbered[], book: Book): Promise<void> {
  const atOnce = 20
  return new Promise((done, fail) => {
    let sent = 0
    let seen = 0
    let text = ''
    const socket = connect(port, '127.0.0.1', sendSome)
    function sendSome() {
      const some = requests.slice(sent, sent + atOnce)
      sent += some.length
      socket.write(
        some
          .map(
            ({ token, number }) =>
              `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nX-Number: ${number}\r\n\r\n`,
          )
          .join(''),
      )
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      let end = 0
      for (const answer of text.matchAll(
        /HTTP\/1\.1 (\d+)[^<]*?(?:x-user: (\w*)\r\n)[^<]*<([^>]*)>/g,
      )) {
        const request = requests[seen++]
        if (request) book.note(request, answer[3] ?? '', answer[2] ?? '')
        end = answer.index + answer[0].length
      }
      text = text.slice(end)
      if (seen === requests.length) {
        socket.destroy()
        done()
      } else if (seen === sent) sendSome()
    })
    socket.on('close', () => fail(new Error(`closed after ${seen} answers: ${text.slice(0, 300)}`)))
    socket.on('error', fail)
  })
}

/** Sends requests side by side on one connection of HTTP/2. */
async function sendOverHttp2(
  port: number,
  requests: readonly Numbered[],
  book: Book,
): Promise<void> {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  const rest = requests[Symbol.iterator]()
  const sendOne = (request: Numbered) =>
    new Promise<void>((done, fail) => {
      const stream = session.request({
        ':path': '/',
        authorization: `Bearer ${request.token}`,
        'x-number': String(request.number),
      })
      let body = ''
      let variable = ''
      stream.on('response', (headers) => {
        variable = String(headers['x-user'])
      })
      stream.setEncoding('latin1').on('data', (chunk) => {
        body += chunk
      })
      stream.on('end', () => {
        book.note(request, body.replace(/^<(.*)>$/, '$1'), variable)
        done()
      })
      stream.on('error', fail)
    })
  const lane = async () => {
    for (const request of rest) await sendOne(request)
  }
  try {
    // No more than HAProxy takes at a time (tune.h2.max-concurrent-streams).
    await Promise.all(Array.from({ length: 8 }, lane))
  } finally {
    session.destroy()
  }
}

function tokenOf(call: Call): string {
  return (values(call, 'authorization')[0] ?? '').slice('Bearer '.length)
}

describe('fifty thousand requests of two identities', () => {
  for (const [what, serverOptions] of [
    ['connections to the application that are shared', ''],
    ['connections of HTTP/2 to the application', 'proto h2'],
  ] as const) {
    it(`over kept and shared connections of HTTP/1.1 and HTTP/2, and ${what}: none is mixed up`, async () => {
      const reusing = (text: string) =>
        waitingLong(text)
          .replace(
            '    http-request lua.entra-auth orders',
            (line) => `    http-reuse always\n${line}`,
          )
          .replace(
            'monitor-uri /haproxy-livez',
            'monitor-uri /haproxy-livez\n    http-after-response set-header x-user %[var(txn.entra.user)]',
          )
      const stack = await startCacheStack(
        await withNativeApplication(format, {
          serverOptions,
          editConfig: reusing,
          env: waitingLongEnv,
        }),
      )
      try {
        // Short lives, so that remembered verdicts come and go.
        stack.verifier.script = (call) =>
          allowFor(1, identities[tokenOf(call).split('.')[0] ?? ''] ?? {})
        await stack.untilRemembered('alice')
        const book = new Book()
        const { port } = stack.haproxy
        await Promise.all([
          ...[1, 2, 3, 4, 5].map((seed) => sendOverHttp1(port, numberedRequests(5000, seed), book)),
          ...[6, 7, 8, 9, 10].map((seed) =>
            sendOverHttp2(port, numberedRequests(5000, seed), book),
          ),
        ])
        assert.deepEqual(book.wrong.slice(0, 5), [])
        assert.equal(book.answered, 50_000)
        // Or this test looks at nothing: both ways were taken, and connections were shared.
        const metrics = await readMetrics(stack)
        const [hits = 0, misses = 0] = ['hits', 'misses'].map((name) =>
          metrics.get(`cache_${name}_total`),
        )
        assert.ok(hits > 20_000 && misses > 5_000, `${hits} hits, ${misses} misses`)
        assert.ok(book.ports.size < 1000, `${book.ports.size} connections to the application`)
      } finally {
        await stack.stop()
      }
    })
  }
})
