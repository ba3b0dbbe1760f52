/**
 * An application inside HAProxy, which keeps up with any load: it answers with what it saw of each
 * request. What it gets has gone over a connection of its own all the same.
 */
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import type { StackOptions } from '../e2e/stack.ts'

/** Options of a stack whose application answers `<…>` with this log format between the brackets. */
export async function withNativeApplication(
  format: string,
  options: StackOptions & { readonly serverOptions?: string } = {},
): Promise<StackOptions> {
  const [port = 0] = await freePorts(1)
  const { editConfig = (text: string) => text, env = {}, serverOptions = '', ...rest } = options
  const section = `
frontend application
    bind 127.0.0.1:${port}${/proto h2/.test(serverOptions) ? ' proto h2' : ''}
    mode http
    http-request return status 200 content-type text/plain lf-string "<${format}>"
`
  return {
    ...rest,
    env: { ENTRA_AUTH_TIMEOUT_MS: '25000', ...env, ENTRA_AUTH_APP_SERVER: `127.0.0.1:${port}` },
    editConfig: (text) =>
      `${editConfig(text)
        // A line for each request would be most of the work of this process.
        .replace('option dontlognull', 'option dontlognull\n    option dontlog-normal')
        // The verifier lives in the process that makes the load, on a machine that may be busy.
        .replace('timeout server  1s', 'timeout server  20s')
        .replace('time 1s', 'time 20s')
        .replace('inspect-delay 1s', 'inspect-delay 20s')
        .replace('timeout connect 200ms', 'timeout connect 20s')
        .replace('timeout client  5s', 'timeout client  25s')
        .replace('check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1', '')
        .replace(/^ {4}server app .*$/m, (line) => `${line} ${serverOptions}`)}${section}`,
  }
}
