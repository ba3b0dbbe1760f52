import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { pino } from 'pino'
import type { LogFormat } from '../config/config.ts'
import type { AuditSink } from '../verify/audit-log.ts'
import { logForm } from './log-output.ts'

/** The most bytes buffered in memory while the disk is full. Later lines are lost. */
const maxBytes = 1024 * 1024

/** What is said of the file, in the log. */
export interface AuditFileLog {
  info(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** The file that the audit of allows goes to. */
export interface AuditFile {
  readonly sink: AuditSink
  /**
   * Opens the path again, after somebody renamed the file. If that fails, the log says so and the
   * audit goes on in the file that is open. Never throws.
   */
  reopen(): void
  /** Lines that were lost so far. */
  readonly dropped: number
}

// Without O_NONBLOCK a named pipe that nobody reads would stop the whole process, and a full one too.
const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK

/**
 * Opens the file, for its owner and group alone, or throws. Each line is written at once: it stands
 * in the file even if the process is killed. A write is tried once and never waited for.
 */
export function openAuditFile(path: string, log: AuditFileLog, format?: LogFormat): AuditFile {
  const open = () => openSync(path, flags, 0o640)
  let file = open()
  const waiting: Buffer[] = []
  let waitingBytes = 0
  let isFailing = false
  let dropped = 0

  function write(line: string): void {
    if (waitingBytes + line.length > maxBytes) dropped++
    else {
      const bytes = Buffer.from(line)
      waiting.push(bytes)
      waitingBytes += bytes.length
    }
    writeWaiting()
  }

  function writeWaiting(): void {
    try {
      for (let first = waiting[0]; first; first = waiting[0]) {
        const written = writeSync(file, first)
        waitingBytes -= written
        // A disk that fills up takes a part of a line; the rest follows when there is room.
        if (written === first.length) waiting.shift()
        else waiting[0] = first.subarray(written)
      }
      if (isFailing) log.info({ file: path, dropped }, 'audit written again')
      isFailing = false
    } catch (error) {
      if (!isFailing) log.error({ problem: codeOf(error), file: path }, 'audit not written')
      isFailing = true
    }
  }

  return {
    sink: pino({ base: null, ...logForm(format) }, { write }),
    reopen() {
      const former = file
      try {
        file = open()
        closeSync(former)
      } catch (error) {
        log.error(
          { problem: codeOf(error), file: path },
          'audit file not reopened, the old one stays in use',
        )
      }
      writeWaiting()
    },
    get dropped() {
      return dropped
    },
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown error'
}
