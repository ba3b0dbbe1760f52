import type { Command } from 'commander'
import { isFromEnvironment, settingName } from '../config/environment.ts'
import { printHaproxyConfig, verifierAddress } from '../haproxy/print.ts'
import { describeResources } from '../verify/resource-metadata.ts'
import { type CommandIo, exitCodes } from './io.ts'
import { readConfigWithoutKeys } from './read-config.ts'

/** Adds `haproxy-config`. */
export function addHaproxyConfigCommand(program: Command, io: CommandIo): void {
  program
    .command('haproxy-config')
    .description('print the HAProxy lines for this configuration')
    .option('--config <file>', 'YAML file (default: ENTRA_AUTH_CONFIG, or environment alone)')
    .option(
      '--verifier <host:port>',
      'where HAProxy reaches the verifier (default: listen in the configuration)',
    )
    .action(async (options: { config?: string; verifier?: string }, command: Command) => {
      if (options.verifier !== undefined && !isAddress(options.verifier)) {
        command.error('error: --verifier must be HOST:PORT, as 10.0.0.11:8080 or [fd00::1]:8080', {
          exitCode: exitCodes.usage,
        })
      }
      const config = await readConfigWithoutKeys(options.config, io)
      const verifier = options.verifier ?? verifierAddress(config.listen)
      if (verifier === undefined) {
        return command.error(
          `error: ${settingName(['listen', 'port'], isFromEnvironment(io.env, options.config))} is 0, so the port of the verifier is not known; give --verifier HOST:PORT`,
          { exitCode: exitCodes.usage },
        )
      }
      const metadataPaths = [...describeResources(config).values()].map(({ path }) => path)
      io.stdout.write(printHaproxyConfig({ config, verifier, metadataPaths }))
    })
}

function isAddress(text: string): boolean {
  const [, , port] = /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})$/.exec(text) ?? []
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65535
}
