import { stringify } from 'yaml'
import { type Environment, TENANT_VARIABLES, treeFrom } from './environment.ts'
import { loadConfig } from './load.ts'
import type { Problem } from './problems.ts'

/** Who may call the API of a first configuration. */
export const audienceKinds = ['users', 'apps', 'both'] as const

/** What a first configuration says. */
export interface Starter {
  /** The answers, in the variables that a configuration without a file has. */
  readonly variables: Environment
  readonly who: (typeof audienceKinds)[number]
  /** Name of the policy, which HAProxy passes. */
  readonly policy: string
}

/** A first configuration as text, or what cannot be right in the answers. */
export type StarterResult =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly problems: readonly Problem[] }

/**
 * Writes the first configuration: what the variables say as a file that can be extended. The text was
 * loaded and checked like any file; `env` has what else counts there, such as a credential.
 */
export async function writeStarter(starter: Starter, env: Environment): Promise<StarterResult> {
  const text = textOf(starter)
  // The mistakes are named after the question that they belong to.
  const asked = await loadConfig({ env: { ...withoutTenant(env), ...starter.variables }, readFile })
  const loaded = await loadConfig({
    file,
    env: withoutTenant(env),
    readFile: (path) => (path === file ? text : readFile()),
  })
  if (loaded.ok) return { ok: true, text }
  return { ok: false, problems: asked.ok ? loaded.problems : asked.problems }
}

const file = 'config.yaml'

function readFile(): never {
  throw new Error('a first configuration names no file')
}

/** Beside a file these variables are a contradiction. */
function withoutTenant(env: Environment): Environment {
  const names: readonly string[] = TENANT_VARIABLES
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)))
}

interface Tree {
  readonly policies: {
    readonly default: { readonly allow: readonly { actor: string; session?: true }[] }
  }
}

function textOf({ variables, who, policy }: Starter): string {
  const { policies, ...rest } = treeFrom(variables) as Tree
  const { allow, ...settings } = policies.default
  const kept = allow.filter(
    ({ actor, session }) => session || who === 'both' || who === `${actor}s`,
  )
  const grants = kept.map((grant) => `      - ${flow(grant)}\n`)
  return `# Configuration of haproxy-entra-auth. "haproxy-entra-auth schema" prints what else can stand here.

# The tenants that are trusted, by a name of your choice.
${stringify(rest)}
policies:
  # HAProxy names the policy: http-request lua.entra-auth ${policy}
  ${flowKey(policy)}:
${indent(stringify(settings), 4)}    # One grant is enough. In place of "any", list what your API has, such as [Orders.Read].
    allow:
${grants.join('')}`
}

function flow(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow' }).trim()
}

function flowKey(name: string): string {
  return stringify(name).trim()
}

function indent(text: string, columns: number): string {
  return text === '{}\n' ? '' : text.replace(/^(?=.)/gm, ' '.repeat(columns))
}
