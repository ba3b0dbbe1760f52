import { Agent } from 'undici'
import type { Http } from '../../src/keys/http.ts'

/** Calls of known clouds, sent to a loopback authority; `asked` lists where they wanted to go. */
export function createRoutedHttp(authorityUrl: string): Http & { readonly asked: string[] } {
  const asked: string[] = []
  const agent = new Agent().compose((dispatch) => (options, handler) => {
    asked.push(`${options.origin}${options.path}`)
    return dispatch({ ...options, origin: authorityUrl }, handler)
  })
  const fetchOptions = (): RequestInit => ({ dispatcher: agent as never, redirect: 'error' })
  return {
    asked,
    fetchOptions,
    async fetchJson(url) {
      const reply = await fetch(url, fetchOptions())
      if (!reply.ok) throw new Error(`${url} answered ${reply.status}`)
      return reply.json()
    },
    close: () => agent.close(),
  }
}
