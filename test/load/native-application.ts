/**
 * An application inside HAProxy, which keeps up with any load: it answers with what it saw of each
 * request. What it gets has gone over a connection of its own all the same.
 */
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import type { StackOptions } from '../e2e/stack.ts'

export interface NativeApplication {
  /** `127.0.0.1:PORT` */
  readonly address: string
  /** Adds it to a configuration. */
  edit(text: string): string
}

/** Answers `<…>` with this log format between the brackets. */
export async function createNativeApplication(
  format: string,
  serverOptions = '',
): Promise<NativeApplication> {
  const [port = 0] = await freePorts(1)
  const address = `127.0.0.1:${port}`
  const section = `
frontend application
    bind ${address}${/proto h2/.test(serverOptions) ? ' proto h2' : ''}
    mode http
    http-request return status 200 content-type text/plain lf-string "<${format}>"
`
  return {
    address,
    edit: (text) =>
      `${text
        // A line for each request would be most of the work of this process.
        .replace('option dontlognull', 'option dontlognull\n    option dontlog-normal')
        .replace(/^ {4}server app .*$/m, (line) => `${line} ${serverOptions}`)}${section}`,
  }
}

/** Options of a stack with such an application. */
export async function withNativeApplication(
  format: string,
  options: StackOptions & { readonly serverOptions?: string } = {},
): Promise<StackOptions> {
  const { editConfig = (text: string) => text, env = {}, serverOptions, ...rest } = options
  const application = await createNativeApplication(format, serverOptions)
  return {
    ...rest,
    env: { ...env, ENTRA_AUTH_APP_SERVER: application.address },
    editConfig: (text) => application.edit(editConfig(text)),
  }
}

/**
 * Waits for a verifier that lives in the process which makes the load, on a machine that may be busy.
 * Where the time in which a refusal comes is no matter of the test.
 */
export function waitingLong(text: string): string {
  return text
    .replace('timeout connect 200ms', 'timeout connect 20s')
    .replace('timeout client  5s', 'timeout client  25s')
    .replace('timeout server  1s', 'timeout server  20s')
    .replace('inspect-delay 1s', 'inspect-delay 20s')
    .replace('wait-for-body time 1s', 'wait-for-body time 20s')
    .replace('check inter 1s fastinter 250ms downinter 500ms fall 2', 'check inter 5s fall 10')
}

/** The action's side of it. */
export const waitingLongEnv: Readonly<Record<string, string>> = { ENTRA_AUTH_TIMEOUT_MS: '25000' }
