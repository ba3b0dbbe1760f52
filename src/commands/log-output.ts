import { type LoggerOptions, stdTimeFunctions } from 'pino'
import type { LogFormat } from '../config/config.ts'
import { withoutSecrets } from '../secrets.ts'

/** What pino needs for a format (`text` is made of the JSON line): names of levels and ISO times, or nothing for its own numbers. */
export function logForm(format: LogFormat | undefined): LoggerOptions {
  if (format === undefined || format === 'numeric') return {}
  return {
    formatters: { level: (level) => ({ level }) },
    timestamp: stdTimeFunctions.isoTime,
  }
}

/** Standard output, as far as the log needs it. */
export interface LogStream {
  /** Calls `done` when the text was written, with an error when it was not. */
  write(text: string, done?: (error?: Error | null) => void): unknown
  readonly isTTY?: boolean
  /** Width of a terminal. */
  readonly columns?: number
  /** Bytes that wait for the reader. */
  readonly writableLength?: number
  on?(event: 'error', listener: (error: Error) => void): unknown
  /** Node's own part of a stream to a terminal. It has no public way to say that writes must not wait. */
  readonly _handle?: { setBlocking?(isBlocking: boolean): unknown } | null
}

/** Where the log goes. */
export interface LogOutput {
  /** Never waits and never throws: what cannot be written is dropped and counted. */
  write(line: string): void
  /** Lines that were dropped so far. */
  readonly dropped: number
  /** Resolves when everything is written, or when nobody has taken it for `timeoutMs`. */
  flush(timeoutMs: number): Promise<void>
}

/** What waits in memory for a reader that stalls; lines beyond it are dropped. */
const maxWaitingBytes = 1024 * 1024

/**
 * Creates the output. Each line goes through `clean`, whoever wrote it. `onRecovery` is told how many
 * lines were dropped once one can be written again.
 * The stream must not block. Node's standard output does so for files, whose writes end, and for
 * terminals, which may stand still as after Ctrl-S; that is switched off here.
 */
export function createLogOutput(
  stream: LogStream,
  onRecovery: (droppedLines: number) => void,
  clean: (line: string) => string = withoutSecrets,
): LogOutput {
  let dropped = 0
  let reported = 0

  function drop(): void {
    dropped++
  }

  function afterWrite(error?: Error | null): void {
    if (error) drop()
    if (error || reported === dropped || waiting() > maxWaitingBytes / 2) return
    const lines = dropped - reported
    reported = dropped
    onRecovery(lines)
  }

  const waiting = () => stream.writableLength ?? 0
  stream._handle?.setBlocking?.(false)
  // Without a listener an error, such as a full disk, would end the process. `afterWrite` counts it.
  stream.on?.('error', () => {})

  return {
    write(line) {
      try {
        if (waiting() + line.length > maxWaitingBytes) drop()
        else stream.write(clean(line), afterWrite)
      } catch {
        drop()
      }
    },
    get dropped() {
      return dropped
    },
    flush(timeoutMs) {
      return new Promise((done) => {
        const timer = setTimeout(done, timeoutMs)
        const finish = () => {
          clearTimeout(timer)
          done()
        }
        try {
          stream.write('', finish)
        } catch {
          finish()
        }
      })
    },
  }
}
