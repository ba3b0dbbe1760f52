/** A proxy variable as it stands in the environment, read as curl reads it. */
export type ProxySetting =
  | { readonly ok: true; readonly url: string }
  | { readonly ok: false; readonly problem: string }

/**
 * Reads the address of a proxy. As in curl, `host:port` without a scheme is an HTTP proxy. The text may
 * hold a password, so no problem repeats it.
 */
export function readProxy(text: string): ProxySetting {
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  const scheme = whole.slice(0, whole.indexOf(':')).toLowerCase()
  if (scheme !== 'http' && scheme !== 'https') {
    return { ok: false, problem: `names a ${scheme} proxy, which is not supported` }
  }
  if (/[\s\\]/.test(whole) || !URL.canParse(whole)) {
    return { ok: false, problem: 'is not the address of a proxy' }
  }
  return { ok: true, url: whole }
}

/** The proxy variables that count, the lower-case ones first, as with curl. */
export const proxyVariables = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'] as const

/** Options for undici's agent. What is no address counts as no proxy here; the start has refused it. */
export function readProxies(env: Readonly<Record<string, string | undefined>>) {
  const read = (...names: readonly string[]) => {
    const text = names.map((name) => env[name]?.trim()).find((value) => value !== undefined)
    const proxy = text ? readProxy(text) : undefined
    return proxy?.ok ? proxy.url : ''
  }
  return {
    httpProxy: read('http_proxy', 'HTTP_PROXY'),
    httpsProxy: read('https_proxy', 'HTTPS_PROXY'),
  }
}
