/** The README: its table is the measured one, its picture is the demo's, and versions are the same everywhere. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { fillReadme } from '../../scripts/comparison.ts'
import { tour } from '../../scripts/demo/tour.ts'
import {
  chooseLines,
  demoPicture,
  drawTerminal,
  shownSections,
} from '../../scripts/demo-picture.ts'
import { runsTypeScript } from '../../scripts/run.mjs'

const root = resolve(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

describe('the README', () => {
  it('has the measured table (else: node scripts/comparison.ts --write)', () => {
    assert.equal(read('README.md'), fillReadme(read('README.md')))
  })

  it('says in its first screen why, what it needs and how to get it', () => {
    const firstScreen = read('README.md').split('\n').slice(0, 60).join('\n')
    for (const word of ['jwt_verify', 'oauth2-proxy', 'HAProxy 2.6', 'Node.js', 'npm run demo']) {
      assert.ok(firstScreen.includes(word), word)
    }
  })

  it('links to the page of concepts', () => {
    assert.match(read('README.md'), /\]\(docs\/concepts\.md\)/)
  })
})

describe('the picture of the demo', () => {
  const picture = readFileSync(demoPicture, 'utf8')
  const text = picture
    .replaceAll(/<[^>]+>/g, '')
    .replaceAll('&gt;', '>')
    .replaceAll('&lt;', '<')

  it('shows the rows of the tour as it is today (else: node scripts/demo-picture.ts)', () => {
    const shown = tour.filter(({ title }) => shownSections.some((section) => section.test(title)))
    assert.equal(shown.length, shownSections.length)
    const steps = shown.flatMap((section) => section.steps)
    const missing = steps.filter(
      ({ call, why }) =>
        !text.split('\n').some((line) => line.includes(call) && line.endsWith(why)),
    )
    assert.deepEqual(missing, [])
    assert.match(
      text,
      new RegExp(`^${tour.flatMap(({ steps }) => steps).length + 1} passed, 0 failed$`, 'm'),
    )
  })

  it('is drawn from what the demo prints, and nothing in it is markup', () => {
    const sections = tour.map(({ title }) => `${title}\nok    a  <b>&  200  c`)
    const output = ['      who  call', '----', ...sections, '1 passed, 0 failed'].join('\n\n')
    const drawn = drawTerminal(chooseLines(output.replace('call\n\n----', 'call\n----')))
    assert.ok(drawn.includes('&lt;b&gt;&amp;'))
    assert.ok(!drawn.includes('<b>'))
    assert.throws(() => chooseLines('nothing'), /no table/)
  })
})

describe('the versions of Node', () => {
  const manifest = JSON.parse(read('package.json'))
  const running = /^>=(\d+\.\d+)\.0$/.exec(manifest.engines.node)?.[1] ?? ''
  /** What the launcher of the two commands runs on. */
  const commands = '18'
  const pages = [
    'README.md',
    'SECURITY.md',
    'CONTRIBUTING.md',
    ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => join('docs', name)),
  ]

  it('are one for running and one for the two commands, on every page', () => {
    for (const page of pages) {
      for (const [text, version] of read(page).matchAll(
        /Node(?:\.js)? (\d+(?:\.\d+)*) or (?:newer|later)/g,
      )) {
        assert.ok(version === running || version === commands, `${page}: ${text}`)
      }
    }
  })

  it('run the sources as well as the package', () => {
    const [major = 0, minor = 0] = running.split('.').map(Number)
    assert.ok(runsTypeScript(`${major}.${minor}.0`))
    assert.ok(!runsTypeScript(`${major}.${minor - 1}.0`))
    assert.ok(read('src/main.ts').includes(`'${running}'`))
  })

  it('are not below what a package needs', () => {
    const { packages } = JSON.parse(read('package-lock.json'))
    const needs = Object.entries<{ dev?: boolean; engines?: { node?: string } }>(packages)
      .filter(([path, { dev }]) => path !== '' && !dev)
      .flatMap(([path, { engines }]) => {
        const [, major, minor = '0'] =
          /(?:^|\|\| *)>= ?(\d+)(?:\.(\d+))?[.\dx]*$/.exec(engines?.node ?? '') ?? []
        return major === undefined ? [] : [{ path, need: Number(major) * 100 + Number(minor) }]
      })
    const [major = 0, minor = 0] = running.split('.').map(Number)
    assert.ok(needs.length > 10)
    assert.deepEqual(
      needs.filter(({ need }) => need > major * 100 + minor),
      [],
    )
  })
})
