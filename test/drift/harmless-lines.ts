/**
 * Lines of the shipped and the printed configuration without which nobody gets past the action, each
 * with the reason. Every other line has to be missed by drift.
 */
export type Loss =
  /** HAProxy refuses to start without it. */
  | 'no start'
  /** Requests are refused, or nothing listens there. */
  | 'refuses'
  /** Less is logged, or named in another way. */
  | 'log'
  /** A limit or a time: somebody may have to wait, nobody gets in. */
  | 'limit'
  /** Another line, or a default of HAProxy, says the same. */
  | 'said twice'

export const harmless: readonly (readonly [line: RegExp, loss: Loss])[] = [
  [/^global: (log|unique-id-format) /, 'log'],
  [/^global: (maxconn|hard-stop-after|tune\.h2\.max-concurrent-streams) /, 'limit'],
  [/^global: tune\.lua\.bool-sample-conversion /, 'no start'],
  [/^global: setenv ENTRA_AUTH_COUNT_BAD_TOKENS /, 'limit'],
  [/^global: lua-load-per-thread /, 'no start'],
  [/^defaults: (defaults|mode http)$/, 'said twice'],
  [/^defaults: (timeout|option idle-close-on-response)/, 'limit'],
  [/^defaults: no option abortonclose$/, 'log'],
  [
    /: (log global|log stdout .*|log-format .*|unique-id-format .*|option dontlog(-normal|null))$/,
    'log',
  ],
  [/: mode http$/, 'said twice'],
  [
    /^listen entra-verifier: (http-check expect|http-reuse|retries|option redispatch|retry-on) ?/,
    'limit',
  ],
  [/^listen entra-verifier: timeout (queue|client) /, 'limit'],
  [/^listen entra-verifier: acl (?!asks_verdict)/, 'no start'],
  [/^listen entra-verifier: http-request set-var\(txn\.asked\) path$/, 'refuses'],
  [/^listen entra-verifier: http-response deny deny_status 502 /, 'limit'],
  [/^frontend www: (bind|maxconn|monitor-uri) /, 'limit'],
  [/^frontend www: http-request set-header x-request-id /, 'log'],
  // Without the header Upgrade nobody asks for h2c, and these two name nothing that counts.
  [
    /^frontend www: http-request del-header (http2-settings|proxy-connection|keep-alive)$/,
    'said twice',
  ],
  [/^frontend www: http-request set-header connection upgrade /, 'refuses'],
  [/^frontend www: acl /, 'no start'],
  [/^frontend www: http-request set-var\(txn\.upgrade\) /, 'refuses'],
  // Only the application can open such a tunnel, by answering what nobody asked.
  [/^frontend www: http-response deny deny_status 502 if \{ status 101 \}/, 'limit'],
  [/^frontend www: (stick-table|http-request track-sc0) /, 'limit'],
  // The one action of this configuration sets it by itself; drift finds a second one without it.
  [
    /^backend orders: (backend orders|http-request unset-var\(txn\.entra\.(ok|hit|reason)\))$/,
    'said twice',
  ],
  [/^backend orders: http-request sc-inc-gpc0\(0\) /, 'limit'],
  [/^backend orders: http-request set-var\(txn\.entra\.(cache|ms|status)\) /, 'log'],
  [/^backend orders: http-request (replace-header cookie|del-header cookie if) /, 'log'],
  [/^backend orders: server /, 'refuses'],
  [/^backend entra-sign-in: http-request set-header x-forwarded-proto https /, 'refuses'],
  // The sign-in listener reads none of them.
  [/^backend entra-sign-in: (http-request del-header|timeout server) /, 'limit'],
  [/^backend entra-sign-in: (http-check expect|retries|option redispatch|retry-on) ?/, 'limit'],
  [/^frontend entra-metrics: /, 'refuses'],
  [/^backend entra-metadata: backend /, 'no start'],
  // The verifier answers GET on its path, whatever comes with it.
  [/^backend entra-metadata: (http-request (deny|del-header)|timeout server) /, 'limit'],
]

/**
 * Each line with the section in which it stands. Comments and empty lines are left out, and `.if` with its
 * branches: HAProxy does not start where one of them is missing.
 */
export function linesWithSections(
  text: string,
): readonly { readonly index: number; readonly line: string }[] {
  let section = ''
  return text.split('\n').flatMap((raw, index) => {
    const line = raw.trim()
    if (line === '' || /^[#.]/.test(line)) return []
    if (/^[a-z]/.test(raw)) section = line
    return [{ index, line: `${section}: ${line}` }]
  })
}
