import { oneLine } from '../config/problems.ts'
import type { Screen, Style } from '../terminal.ts'

/** Names of pino's levels, and how they are shown. */
const levels: Readonly<Record<string, readonly [string, Style | undefined]>> = {
  30: ['info', undefined],
  40: ['warn', 'warning'],
  50: ['error', 'bad'],
  60: ['fatal', 'bad'],
}

/** Which process wrote a line is known where a person looks at one. */
const leftOut = new Set(['level', 'time', 'pid', 'hostname', 'msg'])

/**
 * One JSON line of the log as a person reads it: time, level, message, then `name=value`. Each item of
 * a list of sentences or objects has a line of its own. Nothing in it is obeyed by a terminal.
 */
export function readableLine(line: string, screen: Screen): string {
  const entry = readEntry(line)
  if (entry === undefined) return `${oneLine(line.trimEnd())}\n`
  const { level, time, msg } = entry
  const [name, style] = levels[String(level)] ?? [String(level), undefined]
  const padded = oneLine(name).padEnd(5)
  const items: string[] = []
  const words = Object.entries(entry).flatMap(([key, value]) =>
    leftOut.has(key) ? [] : wordsOf(key, value, items),
  )
  const head = [
    formatTime(time),
    style === undefined ? padded : screen.paint(style, padded),
    screen.paint('heading', oneLine(String(msg ?? ''))),
    ...words,
  ]
  return `${[head.join(' ').trimEnd(), ...items].join('\n')}\n`
}

function readEntry(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** To the second is enough for a person; the file of a log collector has more. */
function formatTime(time: unknown): string {
  const date = new Date(typeof time === 'number' ? time : String(time))
  return Number.isNaN(date.getTime()) ? '-' : date.toISOString().slice(0, 19).replace('T', ' ')
}

/** `name=value` of one field, with dots into objects; adds lines of their own to `items`. */
function wordsOf(name: string, value: unknown, items: string[]): string[] {
  if (value === undefined || value === null) return []
  if (Array.isArray(value)) {
    const texts = value.map(textOf)
    if (texts.every((text) => /^[^\s"]{1,40}$/.test(text))) {
      return texts.length === 0 ? [] : [`${oneLine(name)}=${texts.join(',')}`]
    }
    items.push(...texts.map((text) => `    ${oneLine(name)}: ${text}`))
    return []
  }
  if (typeof value === 'object') {
    return Object.entries(value).flatMap(([key, inner]) => wordsOf(`${name}.${key}`, inner, items))
  }
  const text = String(value)
  // The stack of an error.
  if (text.includes('\n')) {
    items.push(...text.split('\n').map((row) => `    ${oneLine(row)}`))
    return []
  }
  return [
    `${oneLine(name)}=${/^[^\s"=]+$/.test(text) ? oneLine(text) : oneLine(JSON.stringify(text))}`,
  ]
}

/** An item of a list: a sentence as it is, an object as its fields. */
function textOf(item: unknown): string {
  if (typeof item !== 'object' || item === null) return oneLine(String(item))
  const rest: string[] = []
  const words = Object.entries(item).flatMap(([key, value]) => wordsOf(key, value, rest))
  return [...words, ...rest.map((row) => row.trim())].join(' ')
}
