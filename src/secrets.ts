/** Stands where a secret was. */
const mask = '***'

/**
 * What looks like a secret, wherever it stands. All repetitions are bounded, so that a long text costs
 * no more than in proportion to its length.
 */
const patterns: readonly (readonly [RegExp, string])[] = [
  // User and password in an address, with a scheme and, as curl takes a proxy, without one.
  [/\b([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s"'<>\\]{1,512}@/gi, `$1${mask}@`],
  [/(?<![^\s"'(=,])[^\s"'<>\\/@:,()]{1,64}:[^\s"'<>\\/@]{1,256}@(?=[\w.[-])/g, `${mask}@`],
  // Authorization and Proxy-Authorization (RFC 9110 section 11.4).
  [/\b(bearer|basic|dpop)(\s{1,8}|%20)[\w.~+/=%-]{12,8192}/gi, `$1 ${mask}`],
  // A JSON Web Token or a part of one: its header begins with {".
  [/eyJ[\w-]{8,16384}(?:\.[\w-]{0,16384}){0,4}/g, mask],
  [
    /\b((?:client_secret|client_assertion|code_verifier|refresh_token|access_token|id_token|assertion|password|sig)(?:=|%3D|\\?"\s?:\s?\\?"))[^&\s"'\\,;}]{1,8192}/gi,
    `$1${mask}`,
  ],
  [/([?&]code=)[^&\s"'\\]{1,8192}/gi, `$1${mask}`],
  [
    /-----BEGIN ([A-Z ]{0,32}PRIVATE KEY)-----(?:(?!-----END)[\s\S]){0,16384}(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?/g,
    mask,
  ],
]

/**
 * Replaces each secret in the text by `***`: the `known` values, and anything with the form of a
 * secret. A library's message may repeat an address, a header or a body. So every log line, every
 * line on standard error, and every message in an answer passes through here.
 */
export function withoutSecrets(text: string, known: readonly string[] = []): string {
  let clean = text
  for (const secret of known) clean = clean.replaceAll(secret, mask)
  for (const [pattern, replacement] of patterns) clean = clean.replace(pattern, replacement)
  return clean
}

/** Shorter ones would hide parts of words. */
const minLength = 6

/**
 * The values to hide, in each form in which a message may repeat them: plain, as JSON,
 * percent-encoded and base64. The longest come first, because one may be part of another.
 */
export function formsOfSecrets(secrets: Iterable<string | undefined>): readonly string[] {
  const forms = new Set<string>()
  for (const secret of secrets) {
    if (secret === undefined || secret.length < minLength) continue
    forms.add(secret)
    forms.add(JSON.stringify(secret).slice(1, -1))
    if (secret.isWellFormed()) forms.add(encodeURIComponent(secret))
    forms.add(Buffer.from(secret).toString('base64'))
  }
  return [...forms].sort((a, b) => b.length - a.length)
}
