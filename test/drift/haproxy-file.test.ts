// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes its variables as ${NAME}, and those are what is read here
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseHaproxyFiles, readWords } from '../../src/drift/haproxy-file.ts'

const words = (line: string, variables: Record<string, string> = {}) =>
  readWords(line, new Map(Object.entries(variables))).words

/** Line, words as HAProxy reads them. */
const lines: readonly [string, readonly string[]][] = [
  ['  a  b\tc  ', ['a', 'b', 'c']],
  ['a#b c', ['a']],
  ['a \\# b', ['a', '#', 'b']],
  ["a 'b # c' d", ['a', 'b # c', 'd']],
  ['a "b # c" d', ['a', 'b # c', 'd']],
  ['a\\ b', ['a b']],
  ["a''b", ['ab']],
  ["''", ['']],
  ["'a\\b'", ['a\\b']],
  ['"a\\"b"', ['a"b']],
  ['"it\'s"', ["it's"]],
  ['^x\\.y$', ['^x\\.y$']],
  ['\\x41', ['A']],
  ['a\\tb', ['a\tb']],
  ['"${X-1}:${X}"', ['1:$X']],
  ['"$SET ${SET} ${SET-no} \\$SET"', ['yes yes yes $SET']],
  ["'$SET' $SET ${SET}", ['$SET', '$SET', '${SET}']],
  ['"${X-}"', ['']],
  // No continuation: the next line is a line of its own.
  ['bind :80 \\', ['bind', ':80', '\\']],
  ['a\r', ['a']],
]

describe('a line of HAProxy', () => {
  for (const [line, expected] of lines) {
    it(`is read as HAProxy does: ${JSON.stringify(line)}`, () => {
      assert.deepEqual(words(line, { SET: 'yes' }), expected)
    })
  }

  it('names the variables that have no value', () => {
    assert.deepEqual(readWords('"$A ${B} ${C-x}"', new Map()).unresolved, ['A', 'B'])
  })

  it('is incomplete with an open quote', () => {
    assert.equal(readWords("a 'b", new Map()).complete, false)
    assert.equal(readWords("a 'b'", new Map()).complete, true)
  })
})

describe('files of HAProxy', () => {
  const parse = (...texts: string[]) =>
    parseHaproxyFiles(texts.map((text, index) => ({ name: `${index}.cfg`, text })))
  const defaultsOf = (text: string) =>
    parse(text)
      .sections.at(-1)
      ?.defaults?.lines.map((line) => line.words[1])

  it('are one configuration: defaults of a file hold in the next', () => {
    const { sections } = parse('defaults\n  mode http\n', 'backend a\n')
    assert.equal(sections[1]?.defaults, sections[0])
    assert.deepEqual([sections[1]?.head.file, sections[1]?.head.number], ['1.cfg', 1])
  })

  it('take the latest defaults, or those that from names', () => {
    const two = 'defaults one\n mode http\ndefaults\n mode tcp\n'
    assert.deepEqual(defaultsOf(`${two}backend a`), ['tcp'])
    assert.deepEqual(defaultsOf(`${two}backend a from one`), ['http'])
    assert.equal(defaultsOf(`${two}backend a from none`), undefined)
  })

  it('let defaults inherit only with from', () => {
    assert.equal(defaultsOf('defaults one\n mode http\ndefaults two\n'), undefined)
    assert.deepEqual(defaultsOf('defaults one\n mode http\ndefaults two from one\n'), ['http'])
    assert.deepEqual(defaultsOf('defaults one\n mode http\ndefaults from one\n'), ['http'])
  })

  it('keep both branches of a condition and no directive', () => {
    const { sections } = parse('backend a\n.if version_atleast(3.0)\n one\n.else\n two\n.endif\n')
    assert.deepEqual(
      sections[0]?.lines.map((line) => line.words[0]),
      ['one', 'two'],
    )
  })

  it('are one configuration for each outcome that the conditions can have together', () => {
    const of = (versions: readonly string[]) =>
      parse(
        `backend a\n${versions.map((one) => `.if version_atleast(${one})\n at${one}\n.else\n below${one}\n.endif\n`).join('')}`,
      ).branches.map(({ sections }) => sections[0]?.lines.map(({ words }) => words[0]))
    assert.deepEqual(of(['2.6']), [])
    assert.deepEqual(of(['3.1', '3.4']), [
      ['at3.1', 'at3.4'],
      ['at3.1', 'below3.4'],
      ['below3.1', 'below3.4'],
    ])
  })

  it('set variables in the order of the lines', () => {
    const { sections } = parse(
      'global\n setenv A 1\n presetenv A 2\n presetenv B 3\n setenv C 4\n unsetenv C\nbackend a\n x "$A$B${C-5}"\n',
    )
    assert.equal(sections[1]?.lines[0]?.words[1], '135')
  })

  it('do not take a section for a part of the one before', () => {
    const { sections } = parse('backend a\n x\npeers p\n server q 127.0.0.1:1\nuserlist u\n')
    assert.deepEqual(
      sections.map(({ kind }) => kind),
      ['backend', 'peers', 'userlist'],
    )
  })
})
