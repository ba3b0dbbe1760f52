import { type Logger, pino } from 'pino'
import type { AuditSink } from '../verify/audit-log.ts'

/** What waits in memory for a disk that is full; lines beyond it are lost. */
const maxBytes = 1024 * 1024

/** The file that the audit of allows goes to. */
export interface AuditFile {
  readonly sink: AuditSink
  /** Opens the path anew, after somebody renamed the file that stood there. */
  reopen(): void
}

/**
 * Opens the file, for its owner and group alone, or throws. Written at once, not from a buffer: what
 * was answered stands in it even if the process is killed.
 */
export function openAuditFile(path: string, log: Logger): AuditFile {
  const destination = pino.destination({
    dest: path,
    append: true,
    sync: true,
    mode: 0o640,
    maxLength: maxBytes,
  })
  let isFailing = false
  // A full disk ends the audit, not the service; the log, elsewhere, says so once.
  destination.on('error', (error: Error) => {
    if (!isFailing) log.error({ problem: error.message, file: path }, 'audit not written')
    isFailing = true
  })
  destination.on('write', () => {
    isFailing = false
  })
  return { sink: pino({ base: null }, destination), reopen: () => destination.reopen() }
}
