import type { Command } from 'commander'
import { configVersion } from '../config/version.ts'
import { describePolicies, type PolicyDescription } from '../policy/description.ts'
import { formatJson, plainPage, type Screen, screenOf, wrap } from '../terminal.ts'
import type { CommandIo } from './io.ts'
import { readConfigWithoutKeys } from './read-config.ts'

interface PoliciesOptions {
  readonly config?: string
  readonly json?: boolean
}

/** Adds `policies`. */
export function addPoliciesCommand(program: Command, io: CommandIo): void {
  program
    .command('policies')
    .description('tell in words what the configuration allows and denies')
    .option('--config <file>', 'YAML file (default: ENTRA_AUTH_CONFIG, or environment alone)')
    .option('--json', 'JSON in place of text')
    .addHelpText(
      'after',
      `
It reads no key and asks no authority. What a running service has in force stands at
http://127.0.0.1:9091/policies, its admin listener.

Exit codes: 0 done, 64 wrong use, 78 configuration wrong`,
    )
    .action(async ({ config: file, json }: PoliciesOptions) => {
      const config = await readConfigWithoutKeys(file, io, json)
      const policies = describePolicies(config, io.now())
      io.stdout.write(
        json
          ? formatJson({ version: configVersion(config), policies })
          : formatPolicies(policies, screenOf(io.stdout, io.env)),
      )
    })
}

/** The policies as text, as wide as the screen. */
export function formatPolicies(
  policies: readonly PolicyDescription[],
  screen: Screen = plainPage,
): string {
  return policies.map((policy) => `${formatPolicy(policy, screen).join('\n')}\n`).join('\n')
}

function formatPolicy(policy: PolicyDescription, screen: Screen): string[] {
  const { name, tenants, audiences, allow, deny, settings, reportOnlyUntil } = policy
  return [
    ...wrap('policy', name, 0, 13, { screen, style: 'heading' }),
    ...(reportOnlyUntil
      ? wrap('REFUSES', `nobody until ${reportOnlyUntil}`, 2, 11, { screen, style: 'bad' })
      : []),
    ...wrap('tenants', tenants.map((one) => `${one.name} (${one.id})`).join(', '), 2, 11, {
      screen,
    }),
    ...(audiences.length > 0 ? wrap('audiences', audiences.join(', '), 2, 11, { screen }) : []),
    ...deny.flatMap(({ words }) => wrap('denies', words, 2, 11, { screen })),
    ...allow.flatMap(({ words }) => wrap('allows', words, 2, 11, { screen })),
    ...settings.flatMap((text) => wrap('', text, 2, 11, { screen })),
  ]
}
