import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Debian package of each program that makes load or counts. */
const packages: Readonly<Record<string, string>> = {
  wrk: 'wrk',
  h2load: 'nghttp2-client',
  valgrind: 'valgrind',
  cc: 'gcc libc6-dev',
  chrt: 'util-linux',
}

/** Ends the process with one line that says what to install, where a program is missing. */
export function requireTools(names: readonly string[]): void {
  const missing = names.filter((name) => !isThere(name))
  if (missing.length === 0) return
  const wanted = missing.map((name) => packages[name] ?? name).join(' ')
  console.error(
    `${missing.join(', ')} missing for the benchmarks: install it (Debian, Ubuntu: apt-get install ${wanted})`,
  )
  process.exit(1)
}

function isThere(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
