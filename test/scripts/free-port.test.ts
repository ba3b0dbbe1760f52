import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, it } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'

const file = new URL('../../scripts/local-stack/free-port.ts', import.meta.url).href

describe('free ports', () => {
  it('are never given to two processes, even before either listens on them', async () => {
    const [start = 0] = await freePorts(1)
    // The drawn port is taken already: what follows it has room for both.
    const range = { lowest: start + 1, highest: start + 40 }
    const other = spawn(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        '--input-type=module',
        '--eval',
        `import { freePorts } from ${JSON.stringify(file)}
         console.log(JSON.stringify(await freePorts(20, ${JSON.stringify(range)})))
         process.stdin.resume()`,
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    try {
      const [line] = await once(other.stdout, 'data')
      const theirs: number[] = JSON.parse(String(line))
      assert.equal(new Set(theirs).size, 20)
      const ours = await freePorts(15, range)
      assert.deepEqual(
        ours.filter((port) => theirs.includes(port)),
        [],
      )
    } finally {
      other.stdin.end()
      if (other.exitCode === null) await once(other, 'exit')
    }
  })

  it('are not those that somebody listens on', async () => {
    const [port = 0] = await freePorts(1)
    const range = { lowest: port + 1, highest: port + 1 }
    const server = createServer().listen(range.lowest, '127.0.0.1')
    await once(server, 'listening')
    await assert.rejects(freePorts(1, range), /no free port/)
    server.close()
  })
})
