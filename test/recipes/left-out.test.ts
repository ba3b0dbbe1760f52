/** Each of our lines in a recipe for HAProxy, left out: drift says so, or nobody gets past. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { haproxyFindings } from '../drift/fixture.ts'
import { harmless, type Loss, linesWithSections } from '../drift/harmless-lines.ts'
import { type Recipe, recipes } from './haproxy-recipes.ts'
import { loadRecipeConfig } from './recipe-files.ts'

/** The ingress controllers have the action in the frontend, and no mode in their `defaults`. */
const harmlessInSnippets: readonly (readonly [line: RegExp, loss: Loss])[] = [
  ...harmless.filter(([pattern]) => !pattern.test('listen entra-verifier: mode http')),
  [/^frontend www: http-request (track-sc2|sc-inc-gpc0\(2\)) /, 'limit'],
  // Read before the line that loads the action, in one recipe.
  [/^global: setenv ENTRA_AUTH_LUA_FILE /, 'no start'],
  [/^frontend www: http-request unset-var\(txn\.entra\.ok\)$/, 'said twice'],
  [/^frontend www: unique-id-format /, 'log'],
]

function oursIn({ snippets }: Recipe): (line: string) => boolean {
  if (!snippets) return () => true
  const lines = new Set(
    Object.values<string>({ ...snippets }).flatMap((text) =>
      text.split('\n').map((line) => line.trim()),
    ),
  )
  return (line) => lines.has(line)
}

for (const recipe of recipes) {
  describe(`a line left out of the recipe ${recipe.name}`, () => {
    it('is found, or stands in the table of those without which nobody gets past', async () => {
      const config = await loadRecipeConfig(recipe.verifierConfig)
      const text = (await recipe.files()).join('\n')
      const raw = text.split('\n')
      const isOurs = oursIn(recipe)
      // A controller writes its defaults and backends, some lines of which are like ours.
      const lines = linesWithSections(text).filter(
        ({ index, line }) =>
          isOurs(raw[index]?.trim() ?? '') &&
          !(recipe.snippets && /^(defaults|backend)/.test(line)),
      )
      const table = recipe.snippets ? harmlessInSnippets : harmless
      assert.ok(lines.length > 40, `${lines.length} lines`)
      const wrong = lines.flatMap(({ index, line }) => {
        const shown = line.replace(/^(\w+ [\w-]+) from \w+:/, '$1:').replace(/ from \w+$/, '')
        const found = haproxyFindings(raw.toSpliced(index, 1).join('\n'), config).filter(
          ({ code }) => !recipe.accepted?.includes(code),
        )
        const isHarmless = table.some(([pattern]) => pattern.test(shown))
        if (found.length > 0 !== isHarmless) return []
        return [`${isHarmless ? found.map(({ code }) => code).join() : 'not found'}: ${shown}`]
      })
      assert.deepEqual(wrong, [])
    })
  })
}
