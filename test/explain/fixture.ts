import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { type App, buildApp } from '../../src/app.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import type { Config } from '../../src/config/config.ts'
import { loadConfig } from '../../src/config/load.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import type { IssueRequest } from '../../src/dev-entra/token-issuer.ts'
import { createExplainer } from '../../src/explain/explainer.ts'
import type { Explanation } from '../../src/explain/explanation.ts'
import type { FailureCode } from '../../src/failure.ts'
import { createHttp } from '../../src/keys/http.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { createSignatureEngine } from '../../src/token/signature.ts'
import { compileRules } from '../../src/verify/rules.ts'

export const contoso = '11111111-1111-4111-8111-111111111111'
export const fabrikam = '22222222-2222-4222-8222-222222222222'
export const ordersId = '33333333-3333-4333-8333-333333333333'
export const staffGroup = '44444444-4444-4444-8444-444444444444'

/** A dev-entra that listens, with ways to order tokens and faults. */
export async function startAuthority(flavour: 'entra' | 'external-id' = 'entra') {
  const app = buildDevEntra({ now: Date.now, flavour })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const post = async (url: string, payload: object) =>
    (await app.inject({ method: 'POST', url, payload })).json()
  return {
    origin,
    issue: async (request: IssueRequest): Promise<string> =>
      (await post('/dev/token', request)).token,
    sign: async (payload: string, header?: string): Promise<string> =>
      (await post('/dev/sign', { payload, ...(header !== undefined && { header }) })).token,
    fault: (target: 'metadata' | 'keys', kind: string) => post('/dev/fault', { target, kind }),
    reset: () => post('/dev/reset', {}),
    close: () => app.close(),
  }
}

export type TestAuthority = Awaited<ReturnType<typeof startAuthority>>

/** A configuration with the policy `orders`; `policies` are YAML lines for more of them. */
export function configText(
  origin: string,
  { tenants = '', orders = '', head = '', policies = '' } = {},
): string {
  return `
${head}
tenants:
  contoso: { id: ${contoso}, authority: "${origin}" }
  ${tenants}
policies:
  orders:
    ${orders || `audiences: [${ordersId}]\n    allow: [{ actor: user, scopes: [Orders.Read] }]`}
  ${policies}
`
}

export async function readConfig(text: string): Promise<Config> {
  const loaded = await loadConfig({ file: '/c.yaml', env: {}, readFile: () => text })
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
  return loaded.config
}

/** The service and an explainer on the same keys. */
export async function startService(text: string, now: () => number = Date.now) {
  const config = await readConfig(text)
  const app: App = buildApp(config, {
    clock: now,
    random: () => 0.5,
    revocations: createRevocationStore(undefined, now),
    http: createHttp(),
    log: pino({ level: 'silent' }),
    schedule: () => () => {},
  })
  await app.start()
  await app.verify.ready()
  const rules = compileRules(config, app.authorities)
  const explainer = createExplainer({
    clock: now,
    engine: createSignatureEngine(),
    revocations: () => createRevocationList([]),
  })
  return {
    app,
    rules,
    explainer,
    async verify(policy: string, authorization?: string): Promise<FailureCode | null> {
      const headers = authorization === undefined ? {} : { authorization }
      const reply = await app.verify.inject({ url: `/verify/${policy}`, headers })
      if (reply.statusCode === 200) return null
      return reply.headers['x-entra-auth-reason'] as FailureCode
    },
    explain(policyName: string, authorization?: string): Promise<Explanation> {
      const policy = rules.policies.get(policyName)
      if (!policy) throw new Error(`no policy ${policyName}`)
      const request = { authorization, ambiguous: false, callerKey: undefined, hasBody: false }
      return explainer.explain(rules, policy, request)
    },
    close: () => app.close(),
  }
}

export type TestService = Awaited<ReturnType<typeof startService>>

class Exit extends Error {}

/** What a command wrote and how it ended. */
export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command with a process that is not one. */
export async function runCommand(
  run: (io: CommandIo) => Promise<unknown>,
  {
    files = {},
    stdin = '',
    isTTY = false,
    now = Date.now,
  }: {
    files?: Readonly<Record<string, string>>
    stdin?: string | Uint8Array
    isTTY?: boolean
    now?: () => number
  } = {},
): Promise<Ran> {
  let code = 0
  let stdout = ''
  let stderr = ''
  async function* read() {
    yield typeof stdin === 'string' ? Buffer.from(stdin) : stdin
  }
  const io: CommandIo = {
    stdin: Object.assign(read(), { isTTY }),
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    env: {},
    now,
    readFile(path) {
      const text = files[path]
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
      return text
    },
    setExitCode(set) {
      code = set
    },
    exit(set) {
      code = set
      throw new Exit()
    },
    listFolder: () => undefined,
    onReload() {},
    writeFile() {},
    createFile() {},
    exists: () => false,
    onStop() {},
  }
  try {
    await run(io)
  } catch (error) {
    if (!(error instanceof Exit)) throw error
  }
  return { code, stdout, stderr }
}
