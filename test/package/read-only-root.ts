import { spawnSync } from 'node:child_process'

/** An id that no machine gives to anybody. */
const unknownId = '54321'

/**
 * The command that runs `command` with the whole root file system read-only and as an unknown user,
 * as `readOnlyRootFilesystem` and `runAsUser` do in Kubernetes.
 */
export function readOnlyRoot(command: readonly string[]): string[] {
  const inMounts = ['sh', '-c', 'mount -o remount,bind,ro / && exec "$@"', 'sh']
  if (process.getuid?.() === 0) {
    const asUnknown = [
      '--reuid',
      unknownId,
      '--regid',
      unknownId,
      '--clear-groups',
      '--no-new-privs',
    ]
    return ['unshare', '--mount', ...inMounts, 'setpriv', ...asUnknown, ...command]
  }
  const owner = ['unshare', '--user', '--map-root-user', '--mount']
  const unknown = ['unshare', '--user', '--map-user', unknownId, '--map-group', unknownId]
  const { status, stderr } = spawnSync('unshare', [...owner.slice(1), 'true'], { encoding: 'utf8' })
  if (status !== 0) {
    throw new Error(
      `a read-only root needs root or user namespaces (sysctl kernel.unprivileged_userns_clone=1): ${stderr}`,
    )
  }
  return [...owner, ...inMounts, ...unknown, ...command]
}
