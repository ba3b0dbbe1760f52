/** Thread: an authority that serves its keys, and signs tokens that nobody has seen as fast as asked. */
import { parentPort, workerData } from 'node:worker_threads'
import { buildDevEntra } from '../../src/dev-entra/app.ts'

const { loadPort } = workerData
const entra = buildDevEntra({ now: Date.now })
const origin = await entra.listen({ host: '127.0.0.1', port: 0 })

async function sign(persona: string, expiresInSeconds: number): Promise<string> {
  const payload = { persona, expiresInSeconds }
  return (await entra.inject({ method: 'POST', url: '/dev/token', payload })).json().token
}

// Long enough for any soak; the known ones come around again and again.
const known = await Promise.all(Array.from({ length: 500 }, () => sign('alice', 24 * 3_600)))
parentPort?.postMessage({ origin, known })

loadPort.on('message', async (count: number) => {
  const tokens: string[] = []
  for (let index = 0; index < count; index++) tokens.push(await sign('gina', 3_600))
  loadPort.postMessage(tokens)
})
