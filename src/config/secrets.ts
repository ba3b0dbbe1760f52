import { proxyVariables, readProxy } from '../keys/proxy.ts'
import type { Config } from './config.ts'
import { type Environment, variableOf } from './environment.ts'

/** All values of the configuration and the environment that no log may hold. */
export function secretsOf(config: Config, env: Environment): readonly (string | undefined)[] {
  const { callerKey, nextCallerKey, admin, tracing } = config
  return [
    callerKey,
    nextCallerKey,
    admin.key,
    admin.nextKey,
    ...Object.values(tracing?.headers ?? {}).flatMap((value) => [
      value,
      value.replace(/^\S+\s+/, ''),
    ]),
    ...(tracing ? [new URL(tracing.endpoint).search.slice(1)] : []),
    ...proxyVariables.flatMap((name) => passwordsOf(variableOf(env, name))),
  ]
}

/** The password of a proxy as it is written and as it is meant, and the pair as it is sent. */
function passwordsOf(text: string | undefined): readonly string[] {
  const proxy = text === undefined ? undefined : readProxy(text)
  if (!proxy?.ok) return []
  const { username, password } = new URL(proxy.url)
  if (password === '') return []
  const meant = [username, password].map(decode)
  return [password, meant[1] ?? '', meant.join(':')]
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
