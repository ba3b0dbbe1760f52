/**
 * `node scripts/demo-picture.ts` runs the demo and draws some of its sections as they look in a
 * terminal, into `docs/pictures/demo.svg`. A test compares the picture with the tour.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
/** The picture in the README. */
export const demoPicture: string = join(root, 'docs/pictures/demo.svg')
/** The sections that it shows; the whole table is too tall. */
export const shownSections: readonly RegExp[] = [
  /^Who gets in/,
  /^Identity headers sent by the client/,
  /^Carol leaves/,
  /^The verifier is stopped/,
  /^The verifier is back$/,
]

const size = { line: 19, char: 7.85, margin: 16, bar: 30 }
const colours = { back: '#16181d', bar: '#262a33', text: '#d8dce4', dim: '#8b93a3', ok: '#7bd88f' }

/** The lines of the demo's output that the picture shows. Throws where a section is missing. */
export function chooseLines(output: string): string[] {
  const parts = output.split(/\n{2,}/).map((part) => part.split('\n'))
  const head = parts.find(([first]) => first?.trimStart().startsWith('who '))
  if (!head) throw new Error('the demo printed no table')
  const sections = shownSections.map((title) => {
    const section = parts.find(([first = '']) => title.test(first))
    if (!section) throw new Error(`the demo printed no section ${title}`)
    return section
  })
  const [sum = ''] = output.match(/^\d+ passed, \d+ failed$/m) ?? []
  return ['$ npm run demo -- --once', ...head, ...sections.flatMap((one) => ['', ...one]), '', sum]
}

/** The lines as a picture of a terminal. */
export function drawTerminal(lines: readonly string[]): string {
  const width =
    Math.ceil(Math.max(...lines.map((line) => line.length)) * size.char) + 2 * size.margin
  const height = size.bar + lines.length * size.line + 2 * size.margin
  const texts = lines.map((line, index) => {
    const y = size.bar + size.margin + (index + 0.75) * size.line
    return `<text x="${size.margin}" y="${y}" xml:space="preserve">${paint(line)}</text>`
  })
  const dots = ['#ff5f57', '#febc2e', '#28c840'].map(
    (colour, index) => `<circle cx="${20 + index * 20}" cy="15" r="6" fill="${colour}"/>`,
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="Output of npm run demo: who gets in, who does not, and why">`,
    `<rect width="${width}" height="${height}" rx="8" fill="${colours.back}"/>`,
    `<path d="M0 30V8a8 8 0 0 1 8-8h${width - 16}a8 8 0 0 1 8 8v22z" fill="${colours.bar}"/>`,
    ...dots,
    `<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="13" fill="${colours.text}">`,
    ...texts,
    '</g>',
    '</svg>',
    '',
  ].join('\n')
}

function paint(line: string): string {
  if (/^-+$/.test(line)) return `<tspan fill="${colours.dim}">${line}</tspan>`
  if (line.startsWith('ok  ')) {
    return `<tspan fill="${colours.ok}">ok</tspan>${escapeText(line.slice(2))}`
  }
  const isTitle = line !== '' && !line.startsWith(' ')
  return isTitle ? `<tspan font-weight="bold">${escapeText(line)}</tspan>` : escapeText(line)
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** Runs the demo and writes the picture. Throws where a row of the demo failed. */
export function takeDemoPicture(): void {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', join(root, 'scripts/demo.ts'), '--once'],
    { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } },
  )
  if (status !== 0) throw new Error(`the demo failed\n${stdout}${stderr}`)
  mkdirSync(dirname(demoPicture), { recursive: true })
  writeFileSync(demoPicture, drawTerminal(chooseLines(stdout)))
}

if (import.meta.main) takeDemoPicture()
