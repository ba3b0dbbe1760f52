import type { StoreConfig } from '../config/config.ts'
import { isLoopback } from '../loopback.ts'
import type { Finding } from './report.ts'

/**
 * Returns the server's `INFO`. Rejects if the server cannot be reached or does not allow the
 * command.
 */
export type DescribeStore = (store: StoreConfig) => Promise<Readonly<Record<string, string>>>

/** Checks that the store answers, and looks at settings that would lose revocations. */
export async function checkStore(
  store: StoreConfig,
  describeStore: DescribeStore | undefined,
): Promise<Finding[]> {
  const findings: Finding[] = []
  const { protocol, hostname } = new URL(store.url)
  if (protocol === 'redis:' && !isLoopback(hostname)) {
    findings.push({
      level: 'warning',
      path: 'store.url',
      message: `reaches ${hostname} without TLS: whoever is on the way can end revocations`,
      hint: 'Use rediss:// and set store.caFile.',
    })
  }
  if (!describeStore) return findings
  let info: Readonly<Record<string, string>>
  try {
    info = await describeStore(store)
  } catch (error) {
    const { message } = error as Error
    return [
      ...findings,
      {
        level: 'unreachable',
        path: 'store',
        message: `does not answer (${message})`,
        hint: 'Check address, files and network. Revocations that are known stay in force; none can be added.',
      },
    ]
  }
  if (info.redis_mode === 'sentinel' || info.server_mode === 'sentinel') {
    return [
      ...findings,
      {
        level: 'problem',
        path: 'store.url',
        message: 'leads to a Sentinel, which holds no data',
        hint: 'Write an address that leads to the current master; see docs/store.md.',
      },
    ]
  }
  const version = info.valkey_version
    ? `Valkey ${info.valkey_version}`
    : `Redis ${info.redis_version}`
  findings.push({ level: 'note', path: 'store', message: `is ${version}`, hint: '' })
  if (info.role === 'slave') {
    findings.push({
      level: 'problem',
      path: 'store.url',
      message: 'leads to a replica, which takes no revocations: each is refused with 503',
      hint: 'Write an address that leads to the current master; see docs/store.md.',
    })
  }
  if (info.cluster_enabled === '1' || info.redis_mode === 'cluster') {
    findings.push({
      level: 'warning',
      path: 'store.url',
      message: 'leads to a node of a cluster: the service does not follow it to another node',
      hint: 'Use a server without cluster mode, or a cluster with one shard and an address of its master.',
    })
  }
  if (info.maxmemory_policy !== undefined && info.maxmemory_policy !== 'noeviction') {
    findings.push({
      level: 'warning',
      path: 'store',
      message: `may drop revocations: its maxmemory-policy is ${info.maxmemory_policy}`,
      hint: 'Set maxmemory-policy noeviction.',
    })
  }
  if (info.aof_enabled === '0') {
    findings.push({
      level: 'warning',
      path: 'store',
      message: 'loses revocations when it restarts: appendonly is off',
      hint: 'Set appendonly yes.',
    })
  }
  return findings
}
