import { proxyVariables, readProxy } from '../keys/proxy.ts'
import { type Environment, variableOf } from './environment.ts'
import type { Problem } from './problems.ts'

/** Reports each proxy variable that names no proxy; without its value, which may hold a password. */
export function checkProxies(env: Environment, problems: Problem[]): void {
  for (const path of proxyVariables) {
    const text = variableOf(env, path)
    const proxy = text === undefined ? undefined : readProxy(text)
    if (!proxy || proxy.ok) continue
    const hint = 'Write one such as http://proxy.internal:3128, or unset it.'
    problems.push({ path, message: proxy.problem, hint })
  }
}
