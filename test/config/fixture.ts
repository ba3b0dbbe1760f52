import type { Config } from '../../src/config/config.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Problem } from '../../src/config/problems.ts'

export const TENANT = '11111111-1111-4111-8111-111111111111'
export const OTHER = '22222222-2222-4222-8222-222222222222'

type Files = Readonly<Record<string, string>>

/** Loads `text` as /config.yaml; `files` are the other files that exist. */
export function loadText(text: string, files: Files = {}, env: Record<string, string> = {}) {
  return loadConfig({
    file: '/config.yaml',
    env,
    readFile: reader({ '/config.yaml': text, ...files }),
  })
}

export function reader(files: Files) {
  return (path: string): string => {
    const text = files[path]
    if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
    return text
  }
}

/** The configuration of a text that must load. */
export async function configOf(text: string, files: Files = {}): Promise<Config> {
  const result = await loadText(text, files)
  if (!result.ok) throw new Error(JSON.stringify(result.problems))
  return result.config
}

/** The problems of a text; none when it loads. */
export async function problemsOf(text: string, files: Files = {}): Promise<readonly Problem[]> {
  const result = await loadText(text, files)
  return result.ok ? [] : result.problems
}

/** A valid file; each part can be replaced by other YAML. */
export function yaml(
  parts: {
    head?: string
    tenant?: string
    policy?: string
    grant?: string
    audience?: string
    tail?: string
  } = {},
): string {
  return [
    parts.head ?? '',
    'tenants:',
    `  contoso: ${parts.tenant ?? TENANT}`,
    'policies:',
    '  orders:',
    `    audiences: [${parts.audience ?? 'api://orders'}]`,
    `    allow: [${parts.grant ?? '{ actor: user, scopes: [Orders.Read] }'}]`,
    `    ${parts.policy ?? ''}`,
    parts.tail ?? '',
  ].join('\n')
}

/** One policy whose people sign in with a browser. */
export const signInFile = `
tenants: { contoso: 11111111-1111-4111-8111-111111111111 }
signIn:
  clientId: 33333333-3333-4333-8333-333333333333
  tenant: contoso
  credential: { federatedTokenFile: /token }
  hosts: [app.example]
  sealingKeys: /sealing
policies:
  orders: { allow: [{ actor: user, session: true }] }
`
