/** Asks over HTTP/3 with curl, a client that nobody here wrote. */
import { execFile } from 'node:child_process'
import { http3Client } from '../../scripts/http3-client.ts'

export interface Http3Reply {
  /** 0 where the server gave no answer. */
  readonly status: number
  /** `3` for HTTP/3. */
  readonly version: string
  /** Status line and headers as they came. */
  readonly head: string
  readonly body: string
}

export interface Http3Request {
  readonly method?: string
  /** A line each, `Name: value`. */
  readonly headers?: readonly string[]
  readonly path?: string
  readonly body?: string
}

const endOfHead = /\r?\n\r?\n/

/** Sends one request to a UDP port of 127.0.0.1, over a connection of its own. */
export async function askHttp3(port: number, request: Http3Request = {}): Promise<Http3Reply> {
  const { method, headers = ['Authorization: Bearer t'], path = '/h3', body } = request
  const { command, args } = await http3Client()
  const more = [
    ...headers.flatMap((line) => ['--header', line]),
    ...(method === undefined ? [] : ['--request', method]),
    ...(body === undefined ? [] : ['--data-binary', '@-']),
  ]
  const output = await new Promise<string>((done, fail) => {
    const child = execFile(
      command,
      [
        ...args,
        ...['--http3-only', '--insecure', '--silent', '--include', '--max-time', '30'],
        ...['--path-as-is', '--noproxy', '*', '--write-out', '\n%{http_code} %{http_version}'],
        ...['--connect-to', `app.example:443:127.0.0.1:${port}`],
        ...more,
        `https://app.example${path}`,
      ],
      { encoding: 'utf8', maxBuffer: 16 * 1024 * 1024 },
      (_error, stdout, stderr) =>
        // Without an answer curl still writes its last line.
        /\n\d{3} \S+$/.test(stdout) ? done(stdout) : fail(new Error(stderr || 'curl said nothing')),
    )
    child.stdin?.end(body)
  })
  const lastLine = output.lastIndexOf('\n')
  const [status = '', version = ''] = output.slice(lastLine + 1).split(' ')
  const [head = '', ...rest] = output.slice(0, lastLine).split(endOfHead)
  return { status: Number(status), version, head, body: rest.join('\n\n') }
}
