import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { it } from 'node:test'

/** Lua's own limit for one function; the main part of a file is one. */
const luaLimit = 200
/** Lower, so that the next change has room. Loops of the file itself take some, too. */
const limit = 180

it('entra-auth.lua leaves room below the local variables that Lua allows a file', () => {
  const source = readFileSync(new URL('../../haproxy-lua/entra-auth.lua', import.meta.url), 'utf8')
  // Those in a block are indented and end with it.
  const declarations = [...source.matchAll(/^local (function )?([\w, ]+)/gm)]
  const names = declarations.flatMap(([, , list = '']) => list.split(',').map((one) => one.trim()))
  assert.ok(
    names.includes('run') && names.length > 50,
    'the file declares its variables differently',
  )
  assert.ok(
    names.length <= limit,
    `${names.length} local variables at the top of entra-auth.lua, at most ${limit}: with more than ${luaLimit} HAProxy does not start. ` +
      'Put a section into a block: declare above `do` what others use, and define the rest inside.',
  )
})
