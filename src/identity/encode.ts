/**
 * Encodes a value for a header: printable ASCII stays, everything else, `%` and spaces at the
 * ends become percent-encoded UTF-8 (RFC 3986 section 2.1). So no claim can end a header line,
 * and two different values never look alike.
 */
export function encodeValue(value: string): string {
  if (/^(?! )[ -$&-~]*$/.test(value) && !value.endsWith(' ')) return value
  return value.replace(/[^ -$&-~]+|^ +| +$/gu, percentEncode)
}

/** Encodes a list, its separator inside an item included. */
export function encodeList(items: readonly string[], separator: ',' | ' '): string {
  return items.map((item) => encodeValue(item).replaceAll(separator, percentEncode)).join(separator)
}

function percentEncode(text: string): string {
  let encoded = ''
  for (const byte of Buffer.from(text)) {
    encoded += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return encoded
}
