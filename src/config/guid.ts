import { type Path, quote, type Report } from './problems.ts'
import { GUID_PATTERN } from './schema.ts'
import { itemsOf, textOf } from './values.ts'

const GUID = new RegExp(GUID_PATTERN)

/** True for a GUID in either letter case. */
export function isGuid(text: string): boolean {
  return GUID.test(text)
}

/** The GUID in lower case; text that is none is reported with `hint` and left as it is. */
export function checkGuid(value: unknown, path: Path, hint: string, report: Report): string {
  const text = textOf(value)
  if (text !== undefined && !isGuid(text)) report(path, `is not a GUID: ${quote(text)}`, hint)
  return text?.toLowerCase() ?? ''
}

/** A list of GUIDs in lower case, each once. */
export function checkGuids(value: unknown, path: Path, hint: string, report: Report): string[] {
  const ids = itemsOf(value).map((item, index) => checkGuid(item, [...path, index], hint, report))
  return [...new Set(ids)]
}
