/** Longest path and query that a sign-in comes back to, in characters. */
const maxReturnPath = 1_024

/**
 * Reads `rd`: where the browser goes after the sign-in. Returns a path and query on this host, or
 * `/` for anything else. Browsers read `\` as `/`, drop tabs and line breaks, and resolve dots, and
 * a proxy behind may decode `%2f`. So the path is checked in each of these readings.
 */
export function readReturnPath(rd: unknown): string {
  if (typeof rd !== 'string' || rd.length > maxReturnPath) return '/'
  // Printable ASCII without `\` and `#`: a browser encodes the rest before it sends it.
  if (!/^\/[!"$-[\]-~]*$/.test(rd)) return '/'
  const decoded = decodeFully(rd.replace(/\?.*/, ''))
  if (decoded === undefined) return '/'
  // A second slash could begin a host name, and dots could bring one forth.
  if (/\/\s*\/|[\\\p{Cc}]|\/\.{1,2}(;|\/|$)/u.test(decoded)) return '/'
  // Back into the sign-in would be a circle.
  return /^\/oauth2(\/|$)/i.test(decoded) ? '/' : rd
}

/** The path as the most eager decoder reads it; undefined where it is not to be decoded. */
function decodeFully(path: string): string | undefined {
  let text = path
  for (let round = 0; round < 4; round++) {
    let next: string
    try {
      next = decodeURIComponent(text)
    } catch {
      return undefined
    }
    // A full-width slash becomes a plain one where somebody behind folds characters.
    if (next === text) return text.normalize('NFKC')
    text = next
  }
  return undefined
}
