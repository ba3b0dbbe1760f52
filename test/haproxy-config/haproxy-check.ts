import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findHaproxy, shippedLua } from '../../scripts/local-stack/haproxy.ts'

/**
 * What `haproxy -c` says about a configuration; `problem` is empty where it would start, `said` is all
 * that it wrote. `ca` stands in the file of ENTRA_AUTH_CA_FILE.
 */
export async function checkWithHaproxy(
  text: string,
  ca = '',
): Promise<{ readonly problem: string; readonly said: string }> {
  const { command, args } = await findHaproxy()
  const folder = mkdtempSync(join(tmpdir(), 'haproxy-check-'))
  try {
    const file = join(folder, 'haproxy.cfg')
    writeFileSync(file, text)
    const caFile = join(folder, 'ca.pem')
    writeFileSync(caFile, ca)
    const { status, stderr, error } = spawnSync(command, [...args, '-c', '-f', file], {
      encoding: 'utf8',
      env: { ...process.env, ENTRA_AUTH_LUA_FILE: shippedLua, ENTRA_AUTH_CA_FILE: caFile },
    })
    if (status === 0) return { problem: '', said: stderr }
    return { problem: error?.message ?? (stderr || `status ${status}`), said: stderr }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
