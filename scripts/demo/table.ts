/** The table that the tour prints, row by row, and its sum. */
import { styleText } from 'node:util'

/** One row as it is printed. */
export interface Row {
  readonly who: string
  readonly call: string
  /** HTTP status; `-` where no answer came. */
  readonly status: string
  /** What the application saw. */
  readonly saw: string
  readonly why: string
  /** What was not as expected; empty: the row passed. */
  readonly differences: readonly string[]
}

export interface Table {
  /** Two lines: names of the columns, and a rule. */
  header(): string
  section(title: string): string
  /** One line, and one more for each difference. */
  row(row: Row): string
}

const columns = { mark: 4, who: 8, call: 34, status: 6, saw: 13 }
/** Width that no row of the tour exceeds. */
export const tableWidth = 120

/** Creates the table; `colours` only where a person looks at a terminal. */
export function createTable(colours: boolean): Table {
  const paint = (style: Parameters<typeof styleText>[0], text: string) =>
    colours ? styleText(style, text, { validateStream: false }) : text
  const line = (mark: string, { who, call, status, saw, why }: Omit<Row, 'differences'>) =>
    [
      mark,
      who.padEnd(columns.who),
      call.padEnd(columns.call),
      status.padEnd(columns.status),
      saw.padEnd(columns.saw),
      why,
    ]
      .join('  ')
      .trimEnd()
  return {
    header() {
      const names = { who: 'who', call: 'call', status: 'status', saw: 'app saw' }
      const text = line(' '.repeat(columns.mark), { ...names, why: 'why' })
      return `${paint('bold', text)}\n${'-'.repeat(tableWidth)}`
    },
    section: (title) => `\n${paint('bold', title)}`,
    row(row) {
      const passed = row.differences.length === 0
      const mark = passed ? paint('green', 'ok  ') : paint(['red', 'bold'], 'FAIL')
      const details = row.differences.map((text) => paint('red', `      ${text}`))
      return [line(mark, row), ...details].join('\n')
    },
  }
}

/** Counts rows; the last line of the demo and its exit code come from here. */
export interface Score {
  count(row: Row): void
  /** One failure that is no row: the tour could not go on. */
  fail(): void
  /** `N passed, N failed` */
  summary(): string
  /** 0 only if rows were counted and all of them passed. */
  exitCode(): 0 | 1
}

/** Creates a score of nothing, which is not a success. */
export function createScore(): Score {
  let passed = 0
  let failed = 0
  return {
    count({ differences }) {
      if (differences.length === 0) passed++
      else failed++
    },
    fail: () => void failed++,
    summary: () => `${passed} passed, ${failed} failed`,
    exitCode: () => (passed > 0 && failed === 0 ? 0 : 1),
  }
}
