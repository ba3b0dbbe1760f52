import { oneLine } from './config/problems.ts'

/** What a piece of text says to whoever looks at a terminal. */
export type Style = 'good' | 'bad' | 'warning' | 'heading'

/** Where a report goes: its width, and how it shows a style. */
export interface Screen {
  /** Columns of a line. */
  readonly columns: number
  /** Whether a person looks at it; else a program or a file gets the text. */
  readonly isTerminal: boolean
  /** The text in a style, for output alone: what is measured or escaped must not be painted yet. */
  paint(style: Style, text: string): string
}

/** A file or a pipe: 100 columns, no colours. */
export const plainPage: Screen = {
  columns: 100,
  isTerminal: false,
  paint: (_, text) => text,
}

/** Select Graphic Rendition of ECMA-48: each style and what ends it. */
const codes: Readonly<Record<Style, readonly [number, number]>> = {
  good: [32, 39],
  bad: [31, 39],
  warning: [33, 39],
  heading: [1, 22],
}

/** Lines beyond this are hard to read, and shorter ones hold no address. */
const widest = 100
const narrowest = 40

/**
 * The screen of an output stream. A terminal gives its width, at most 100 columns. Colours are shown
 * on a terminal, and elsewhere with FORCE_COLOR; NO_COLOR (no-color.org) and TERM=dumb switch them off.
 */
export function screenOf(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  env: Readonly<Record<string, string | undefined>>,
): Screen {
  const isTerminal = stream.isTTY === true
  const columns =
    isTerminal && stream.columns
      ? Math.min(widest, Math.max(narrowest, stream.columns))
      : plainPage.columns
  if (!showsColours(isTerminal, env)) return { ...plainPage, columns, isTerminal }
  return {
    columns,
    isTerminal,
    paint(style, text) {
      const [on, off] = codes[style]
      return text === '' ? '' : `\u001b[${on}m${text}\u001b[${off}m`
    },
  }
}

function showsColours(
  isTerminal: boolean,
  { NO_COLOR, FORCE_COLOR, TERM }: Readonly<Record<string, string | undefined>>,
): boolean {
  if (NO_COLOR) return false
  if (FORCE_COLOR !== undefined) return !['', '0', 'false'].includes(FORCE_COLOR)
  return isTerminal && TERM !== 'dumb'
}

/** How `wrap` lays a text out, where it is not the usual way. */
export interface Layout {
  readonly screen?: Screen
  /** Style of the label. */
  readonly style?: Style | undefined
}

/**
 * One labelled text in lines as wide as the screen, `left` columns of them blank, with nothing in it
 * that a terminal would obey.
 */
export function wrap(
  label: string,
  text: string,
  left: number,
  labelWidth = 13,
  { screen = plainPage, style }: Layout = {},
): string[] {
  const room = Math.max(16, screen.columns - left - labelWidth)
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
  return rows.map((line, i) => {
    const [shown, used] = i === 0 ? [oneLine(label), oneLine(label).length] : ['', 0]
    const painted = style === undefined ? shown : screen.paint(style, shown)
    const gap = ' '.repeat(Math.max(0, labelWidth - used))
    return `${' '.repeat(left)}${painted}${gap}${line}`.trimEnd()
  })
}

/**
 * The text of a help page, wrapped: lines that begin at the margin and follow each other are one
 * paragraph, indented lines stay as they are.
 */
export function wrapPage(text: string, columns: number): string {
  const lines: string[] = []
  let paragraph: string[] = []
  const end = () => {
    if (paragraph.length === 0) return
    const screen = { ...plainPage, columns }
    lines.push(...wrap('', paragraph.join(' '), 0, 0, { screen }))
    paragraph = []
  }
  for (const line of text.split('\n')) {
    if (/^\S/.test(line)) paragraph.push(line)
    else {
      end()
      lines.push(line)
    }
  }
  end()
  return lines.join('\n')
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
