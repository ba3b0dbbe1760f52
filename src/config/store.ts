import type { Config, StoreConfig } from './config.ts'
import type { Report } from './problems.ts'
import { mappingOf, memberOf, textOf } from './values.ts'

/** Whether there is a place for revocations: the file or the store. */
export function canRevoke(config: Pick<Config, 'revocationFile' | 'store'>): boolean {
  return config.revocationFile !== undefined || config.store !== undefined
}

/** Checks the section `store`; undefined where there is none. */
export function checkStore(section: unknown, report: Report): StoreConfig | undefined {
  if (mappingOf(section) === undefined) return undefined
  const url = textOf(memberOf(section, 'url')) ?? ''
  const address = URL.canParse(url) ? new URL(url) : undefined
  if (address && (address.username !== '' || address.password !== '')) {
    report(
      ['store', 'url'],
      'holds a user name or a password',
      'Name files with usernameFile and passwordFile: a secret does not belong here.',
    )
  } else if (/^rediss?[-+]sentinel:|^[^/?#]*:\/\/[^/]*,/.test(url)) {
    report(
      ['store', 'url'],
      'names several servers, or a Sentinel: the service connects to one address',
      'Write one address that leads to the current master, such as a Kubernetes service or a listen section of HAProxy with a check for role:master (docs/store.md).',
    )
  } else if (url !== '' && !isAddress(address)) {
    report(
      ['store', 'url'],
      'is no address of a Redis or Valkey server',
      'Write rediss://HOST:PORT, or redis://127.0.0.1:6379 for a server on this machine.',
    )
  }
  const [usernameFile, passwordFile, caFile] = ['usernameFile', 'passwordFile', 'caFile'].map(
    (name) => textOf(memberOf(section, name)),
  )
  if (usernameFile !== undefined && passwordFile === undefined) {
    report(
      ['store', 'passwordFile'],
      'is missing although there is a usernameFile',
      'Name the file that holds the password of this user.',
    )
  }
  return {
    url,
    ...(usernameFile !== undefined && { usernameFile }),
    ...(passwordFile !== undefined && { passwordFile }),
    ...(caFile !== undefined && { caFile }),
  }
}

function isAddress(address: URL | undefined): boolean {
  if (!address || !['redis:', 'rediss:'].includes(address.protocol)) return false
  const { hostname, pathname, search, hash } = address
  return hostname !== '' && /^(\/\d{0,4})?$/.test(pathname) && search === '' && hash === ''
}
