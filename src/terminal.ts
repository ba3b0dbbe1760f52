import { oneLine } from './config/problems.ts'

const width = 100

/**
 * One labelled text in lines of at most 100 columns, `left` of them blank, with nothing in it that
 * a terminal would obey.
 */
export function wrap(label: string, text: string, left: number, labelWidth = 13): string[] {
  const room = width - left - labelWidth
  const breaks = new RegExp(`.{1,${room}}`, 'gsu')
  const words = oneLine(text)
    .split(' ')
    // An address stays whole, to be copied; a claim that is one endless word does not.
    .flatMap((word) => (word.length > 120 ? (word.match(breaks) ?? []) : [word]))
  const rows: string[] = []
  let row = ''
  for (const word of words) {
    if (row !== '' && row.length + 1 + word.length > room) {
      rows.push(row)
      row = word
    } else row = row === '' ? word : `${row} ${word}`
  }
  rows.push(row)
  return rows.map((line, i) =>
    `${' '.repeat(left)}${(i === 0 ? label : '').padEnd(labelWidth)}${line}`.trimEnd(),
  )
}

/** A report as JSON; what a terminal would obey is escaped inside the strings. */
export function formatJson(value: object): string {
  const json = JSON.stringify(value, undefined, 2)
  return `${json.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character === '\n' ? character : escapeForJson(character),
  )}\n`
}

function escapeForJson(character: string): string {
  const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i))
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')
}
