/** Members that hold an access token: OAuth, MSAL and Azure CLI, Az PowerShell. */
const tokenMembers = new Set(['access_token', 'accesstoken', 'token'])

/** The form of a signed token; its header and claims begin with `{"`. */
const signedToken = /eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*/g

/** Decodes UTF-8, and UTF-16 as Windows PowerShell writes it into files; a byte order mark is left out. */
export function decodeText(bytes: Uint8Array): string {
  const isLittleEndian = bytes[0] === 0xff && bytes[1] === 0xfe
  const isBigEndian = bytes[0] === 0xfe && bytes[1] === 0xff
  // Without a mark: in ASCII text each second byte is zero.
  if (isLittleEndian || (bytes[1] === 0 && bytes[0] !== 0)) return decode('utf-16le', bytes)
  if (isBigEndian || (bytes[0] === 0 && bytes.length > 1)) return decode('utf-16be', bytes)
  return decode('utf-8', bytes)
}

/**
 * The token in what people have at hand: the token, `Bearer TOKEN`, the whole header, the JSON of a token
 * endpoint or tool, or any text with one token in it, such as a curl command. What is none of these is
 * returned as it is, for the checks to name it.
 */
export function findToken(text: string): string {
  const trimmed = text.trim()
  const inJson = /^["{[]/.test(trimmed) ? tokenInJson(trimmed) : undefined
  const found = (inJson ?? trimmed)
    .replace(/^(proxy-)?authorization\s*:\s*/i, '')
    .replace(/^bearer\s+/i, '')
    .trim()
  // A token with something between its characters is for the checks to name.
  if (/^[\w-]+(\.[\w-]*)*$/.test(found)) return found
  const [token, another] = new Set(found.match(accessTokenIn(found)) ?? [])
  return token !== undefined && another === undefined ? token : found
}

/** Of a text that says which is the access token, only that one. */
function accessTokenIn(text: string): RegExp {
  const named = new RegExp(`(?<=\\baccess_?token\\W{1,4})${signedToken.source}`, 'gi')
  return named.test(text) ? named : signedToken
}

/** The first access token of a document, the outer members before the inner ones. */
function tokenInJson(text: string): string | undefined {
  let waiting: unknown[]
  try {
    waiting = [JSON.parse(text)]
  } catch {
    return undefined
  }
  for (const value of waiting) {
    if (typeof value === 'string' && waiting.length === 1) return value
    if (typeof value !== 'object' || value === null) continue
    const entries = Object.entries(value)
    const found = entries.find(
      ([name, member]) => typeof member === 'string' && tokenMembers.has(name.toLowerCase()),
    )
    if (found) return String(found[1])
    for (const member of Object.values(value)) waiting.push(member)
  }
  return undefined
}

function decode(encoding: string, bytes: Uint8Array): string {
  return new TextDecoder(encoding).decode(bytes)
}

/**
 * The value of a session cookie in what people have at hand: the value, `NAME=VALUE`, or a whole
 * `Cookie` line. Empty for more than one, since then none counts. Undefined for anything else, such as a
 * token, which has dots, and beside `Authorization`, since then only the token counts.
 */
export function findSessionCookie(text: string): string | undefined {
  const trimmed = text.trim()
  if (/(?:^|[\s'"])authorization\s*:/i.test(trimmed)) return undefined
  const [named, second] = trimmed.matchAll(/(?:^|[\s;'":])__Host-entra-session=([\w-]+)/g)
  if (named) return second ? '' : named[1]
  return /^[\w-]{64,}$/.test(trimmed) ? trimmed : undefined
}
