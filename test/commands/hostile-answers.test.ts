import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import { it } from 'node:test'
import { promisify } from 'node:util'

it('nothing that an admin listener answers reaches the terminal as it is', async (t) => {
  const entry = { kind: '\u001b[2Jx', id: '\u001b[31m', before: 1, until: 2, reason: '\u202e' }
  const problem = '\u001b[2J\u009b31m gone\nrevoked: user all'
  const server = createServer(({ method }, response) => {
    response.statusCode = method === 'GET' ? 200 : 409
    const body = method === 'GET' ? { revocations: [entry] } : { error_description: problem }
    response.end(JSON.stringify(body))
  })
  await new Promise<void>((d) => server.listen(0, '127.0.0.1', d))
  t.after(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  const run = (...a: string[]) =>
    promisify(execFile)(process.execPath, [
      '--disable-warning=ExperimentalWarning',
      'src/main.ts',
      'revocations',
      ...a,
      '--admin-url',
      url,
    ]).catch((e) => e)
  const list = await run('list')
  const add = await run('add', 'key', 'x')
  assert.match(list.stdout, /31m/)
  const all = [list.stdout, list.stderr, add.stdout, add.stderr].join('')
  for (const odd of ['\u001b', '\u009b', '\u202e'])
    assert.ok(!all.includes(odd), JSON.stringify(all))
})
