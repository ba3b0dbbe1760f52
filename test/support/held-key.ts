/** Requests that wait for a key. */

import type { FakeAuthority } from './authority.ts'
import { eventually } from './eventually.ts'
import { jwkOf, type SigningKey, signingKey } from './signing-keys.ts'

/** A key that was published since the last reading, and whose look-up waits. */
export interface HeldKey {
  readonly key: SigningKey
  /** Resolves once a look-up waits. */
  isAskedFor(): Promise<unknown>
  release(): void
}

/** Publishes a key of the tenant Contoso; the authority does not answer until `release`. */
export function holdKey(authority: FakeAuthority): HeldKey {
  const { v2 } = authority.contoso
  const key = signingKey('published since the last reading')
  v2.keys.push(jwkOf(key))
  const before = authority.requests.length
  let open = () => {}
  v2.gate = new Promise((resolve) => {
    open = resolve
  })
  return {
    key,
    isAskedFor: () =>
      eventually(
        () => authority.requests.length,
        (count) => count > before,
      ),
    release() {
      v2.gate = undefined
      open()
    },
  }
}
