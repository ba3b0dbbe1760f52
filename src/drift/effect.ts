import type { Rule } from './proxy.ts'

/** The action, in the form that refuses by itself. */
export function isEnforcing({ action }: Rule): boolean {
  return action === 'lua.entra-auth' || action === 'lua.entra-auth-backend'
}

/** The action in any form. */
export function isAction(rule: Rule): boolean {
  return isEnforcing(rule) || rule.action === 'lua.entra-auth-observe'
}

const refusals = new Set(['deny', 'tarpit', 'reject', 'silent-drop'])

/** Whether a rule ends the request with a refusal. */
export function isRefusal({ action, words }: Rule): boolean {
  return refusals.has(action) || /^[45]\d\d$/.test(statusOf(action, words))
}

/** Whether a rule sends the client elsewhere. */
export function isRedirect({ action, words }: Rule): boolean {
  return action === 'redirect' || /^3\d\d$/.test(statusOf(action, words))
}

/** A redirect to the same place over TLS, or to another that is reached over TLS. */
export function leadsToTls({ action, words }: Rule): boolean {
  const at = words.findIndex((word) => /^(scheme|prefix|location)$/.test(word))
  return action === 'redirect' && /^https(:|$)/.test(words[at + 1] ?? '')
}

const answers = new Set(['return', 'use-service', 'cache-use', 'auth', 'use-fcgi-app'])

/**
 * Whether the request goes no further where a rule fires. `cache-use` ends it only if the cache has
 * the answer.
 */
export function endsRequest(rule: Rule): boolean {
  return (
    isRefusal(rule) || isRedirect(rule) || (answers.has(rule.action) && rule.action !== 'cache-use')
  )
}

/** Whether a rule answers with content: neither a refusal nor a redirect. */
export function isAnswer(rule: Rule): boolean {
  return answers.has(rule.action) && rule.action !== 'auth' && !isRefusal(rule) && !isRedirect(rule)
}

function statusOf(action: string, words: readonly string[]): string {
  const at = words.indexOf('status')
  return action === 'return' && at >= 0 ? (words[at + 1] ?? '') : ''
}

/** What a rule changes of a request, so that an ACL may read something else behind it. */
export function rewrites({ action, words }: Rule, fetch: string, argument: string): boolean {
  if (action === 'set-query') return /^(pathq|url|baseq|query|urlp)/.test(fetch)
  if (/^(set|replace)-(path|pathq|uri)$/.test(action) || action === 'normalize-uri') {
    return /^(path|pathq|url|base|query|urlp)/.test(fetch)
  }
  if (action === 'set-method') return fetch === 'method'
  if (/^(set|add|del|replace)-(header|value)$/.test(action)) {
    const isSame = words[0]?.toLowerCase() === argument.toLowerCase().split(',')[0]
    return fetch === 'base'
      ? words[0]?.toLowerCase() === 'host'
      : fetch.startsWith('req.') && isSame
  }
  const variable = /^(?:set-var(?:-fmt)?|unset-var)\(([^,)]+)/.exec(action)?.[1]
  return fetch === 'var' && variable === argument
}
