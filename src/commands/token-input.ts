/** Members that hold a token: OAuth, MSAL and Azure CLI, Az PowerShell. */
const tokenMembers = ['access_token', 'accessToken', 'Token', 'token']

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
 * The token in what people have at hand: the token, `Bearer TOKEN`, the whole header, or the JSON of a
 * token endpoint or tool. What is none of these is returned as it is, for the checks to name it.
 */
export function findToken(text: string): string {
  const trimmed = text.trim()
  const found = /^["{]/.test(trimmed) ? tokenInJson(trimmed) : undefined
  return (found ?? trimmed)
    .replace(/^(proxy-)?authorization\s*:\s*/i, '')
    .replace(/^bearer\s+/i, '')
    .trim()
}

function tokenInJson(text: string): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value === 'string') return value
  if (typeof value !== 'object' || value === null) return undefined
  const members = new Map(Object.entries(value))
  return tokenMembers.map((name) => members.get(name)).find((one) => typeof one === 'string')
}

function decode(encoding: string, bytes: Uint8Array): string {
  return new TextDecoder(encoding).decode(bytes)
}

/**
 * The value of a session cookie in what people have at hand: the value, `NAME=VALUE`, or a whole
 * `Cookie` line. Undefined for anything else, such as a token, which has dots.
 */
export function findSessionCookie(text: string): string | undefined {
  const trimmed = text.trim()
  const [, named] = /(?:^|[\s;'":])__Host-entra-session=([\w-]+)/.exec(trimmed) ?? []
  if (named !== undefined) return named
  return /^[\w-]{64,}$/.test(trimmed) ? trimmed : undefined
}
