/**
 * The values of a header, from Node's list of names and values as they came: Node itself joins or drops
 * duplicates. `name` is in lower case.
 */
export function valuesOf(rawHeaders: readonly string[], name: string): readonly string[] {
  return rawHeaders.filter(
    (_, i) => i % 2 === 1 && String(rawHeaders[i - 1]).toLowerCase() === name,
  )
}
