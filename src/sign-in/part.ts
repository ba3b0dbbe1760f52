import type { Config, LiveConfig } from '../config/config.ts'
import { canRevoke } from '../config/store.ts'
import { type CredentialRuntime, createCredential } from '../credential/credential.ts'
import type { SealingKeys } from '../session/sealing.ts'
import type { CreateRefusalPage } from '../verify/route.ts'
import { type SignInOutcome, type SignInRuntime, signInOutcomes } from './context.ts'
import { buildSignIn, type SignInListener, type SignInSettings } from './listener.ts'

/** Sign-in, ready to be built into the service. */
export interface SignInPart {
  readonly sealingKeys: SealingKeys
  /** Builds the listener for a configuration that has the section `signIn`. */
  build(config: Config, runtime: Omit<SignInRuntime, 'sealingKeys'>): BuiltSignIn
}

/** The listener as the service holds it. */
export interface BuiltSignIn extends Pick<SignInListener, 'app'> {
  /** Every way in which a sign-in can end, as the metric counts it. */
  readonly outcomes: readonly SignInOutcome[]
  /** The page for a person whom a policy refuses, as the verify listener sends it. */
  readonly refusalPage: CreateRefusalPage
  reload(config: LiveConfig): void
}

/** What the part takes from the outside world besides what the service has. */
export interface SignInPartOptions {
  readonly sealingKeys: SealingKeys
  readonly credential: Omit<CredentialRuntime, 'http' | 'clock' | 'elapsed'>
  /** A `data:` address of the picture on each page. */
  readonly logo?: string | undefined
}

/** Creates the part. */
export function createSignInPart({ sealingKeys, credential, logo }: SignInPartOptions): SignInPart {
  return {
    sealingKeys,
    build(config, runtime) {
      const settingsOf = (next: LiveConfig): SignInSettings | undefined => {
        const { signIn, tenants } = next
        const tenant = tenants.find(({ id }) => id === signIn?.tenantId)
        if (!signIn || !tenant) return undefined
        const owner = { clientId: signIn.clientId, tenant }
        return {
          config: signIn,
          tenant,
          credential: createCredential(signIn.credential, owner, { ...runtime, ...credential }),
          style: { text: signIn.page.text, logo },
          canRevoke: canRevoke(config),
        }
      }
      const settings = settingsOf(config)
      if (!settings) throw new Error('sign-in without the section signIn')
      const listener = buildSignIn(settings, { ...runtime, sealingKeys })
      return {
        app: listener.app,
        refusalPage: listener.refusalPage,
        outcomes: signInOutcomes,
        reload(next) {
          const changed = settingsOf(next)
          // Without the section no host is known any more, so every route ends in a page.
          if (changed) listener.reload(changed)
        },
      }
    },
  }
}
