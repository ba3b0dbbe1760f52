import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { it } from 'node:test'

/** Bytes of a file that people can still review. */
const maxSize = 256 * 1024
/** Files that are not text, and where they may be. */
const binary = /\.(png|jpe?g|gif|ico|pdf|zip|gz|tgz|whl|jar|node|wasm|so|exe)$/
const pictures = /^docs\/pictures\/[a-z-]+\.png$/

it('holds no archive, program or large file that nobody reviews', () => {
  const root = new URL('../../', import.meta.url)
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
    .split('\0')
    .filter(Boolean)
  assert.ok(files.includes('package.json'), 'git lists no files of the project')
  const foreign = files.filter(
    (path) =>
      (binary.test(path) && !pictures.test(path)) ||
      (path !== 'package-lock.json' &&
        (statSync(new URL(path, root), { throwIfNoEntry: false })?.size ?? 0) > maxSize),
  )
  assert.deepEqual(foreign, [])
})
