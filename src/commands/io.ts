import type { CloseWithGraceCallback } from 'close-with-grace'
import type { DevEntraIo } from '../dev-entra/commands.ts'
import type { LogStream } from './log-output.ts'

/** What commands take from the process, so that tests can give them something else. */
export interface CommandIo extends DevEntraIo {
  readonly stdout: LogStream
  /** Standard input; a terminal where `isTTY`. */
  readonly stdin: AsyncIterable<Uint8Array> & { readonly isTTY?: boolean }
  /** Returns the text of a file, or throws. */
  readonly readFile: (path: string) => string
  /** Returns the names of the files in a folder; undefined where the path is no folder. */
  readonly listFolder: (path: string) => readonly string[] | undefined
  /** Whether anything has this name, a link or a device too; throws where nobody can tell. */
  readonly exists: (path: string) => boolean
  /** Writes a new file, or throws; with the code EEXIST where anything has that name. */
  readonly createFile: (path: string, text: string) => void
  /** Ends the process with this exit code once its output is written. */
  readonly setExitCode: (code: number) => void
  /** Ends the process with an exit code. */
  readonly exit: (code: number) => never
  /** Runs `reload` on each SIGHUP, and at once if one came before this call. */
  readonly onReload: (reload: () => void) => void
  /** Runs `close` when the process is asked to stop. */
  readonly onStop: (close: CloseWithGraceCallback) => void
}

/** Exit codes of all commands; 64 and above as in sysexits.h. */
export const exitCodes = {
  failure: 1,
  usage: 64,
  unavailable: 69,
  configuration: 78,
} as const
