import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parse } from 'yaml'
import { configOf } from '../config/fixture.ts'
import { run } from '../drift/run.ts'

const root = resolve(import.meta.dirname, '../..')

/** The text of a file of the recipes. */
export function recipeFile(path: string): string {
  return readFileSync(join(root, 'recipes', path), 'utf8')
}

/** The verifier's configuration inside the ConfigMap that the Kubernetes recipes mount. */
export const sidecarConfig: string = parse(recipeFile('kubernetes/verifier-config.yaml')).data[
  'config.yaml'
]

/** What `haproxy-entra-auth haproxy-config` prints for a configuration. */
export async function printedLines(config: string): Promise<string> {
  const { stdout, stderr, code } = await run(['haproxy-config', '--config', 'c.yaml'], {
    'c.yaml': config,
  })
  if (code !== 0) throw new Error(stderr)
  return stdout
}

/** The verifier's configuration, loaded; key files have some content. */
export function loadRecipeConfig(config: string) {
  const files = [...config.matchAll(/KeyFile: (\S+?)(?=[\s}])/g)].map(([, path = '']) => path)
  return configOf(config, Object.fromEntries(files.map((path) => [path, 'k'.repeat(32)])))
}

export function indent(snippet: string): string {
  return snippet.trimEnd().replaceAll(/^(?=.)/gm, '    ')
}
