import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { after, describe, it } from 'node:test'
import { shippedConfig } from '../../scripts/local-stack/haproxy.ts'
import { startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const page = readFileSync(new URL('../../docs/logs.md', import.meta.url), 'utf8')
const examples: Readonly<Record<string, unknown>>[] = [...page.matchAll(/```json\n(.*)\n```/g)].map(
  ([, line = '']) => JSON.parse(line),
)

function exampleOf(message: string) {
  return examples.find(({ msg }) => msg === message) ?? assert.fail(`no example of ${message}`)
}

describe('the page of logs', () => {
  it('names every message of the service', () => {
    const source = resolve(import.meta.dirname, '../../src')
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.ts') && !file.startsWith('dev-entra'),
    )
    const messages = files.flatMap((file) => {
      const code = readFileSync(join(source, file), 'utf8')
      const calls = code.matchAll(
        /\blog(?:\.(?:info|warn|error|fatal)|\[\w+\])\([^']*?'([^']+)',?\s*\)/g,
      )
      return [...calls].map(([, message = '']) => message)
    })
    assert.ok(messages.length > 20, `${messages.length} found`)
    const missing = messages.filter(
      (message) => !page.includes(`\`${message}\``) && !page.includes(`"msg":"${message}"`),
    )
    assert.deepEqual(missing, [])
  })

  it('names every notice about revocations and their store', () => {
    const notices = ['revocation/revocation-store.ts', 'store/shared-revocations.ts']
      .concat('store/kept-copy.ts')
      .flatMap((file) => {
        const code = readFileSync(new URL(`../../src/${file}`, import.meta.url), 'utf8')
        // What is said, up to what differs each time.
        const texts = code.matchAll(
          /(?:onNotice\(|const text =)\s*(?:\w+\s*\?\s*`([^`$]+)[^`]*`\s*:\s*)?[\w\s?]*['`]([^'`$]+)/g,
        )
        return [...texts].flatMap(([, ...found]) => found.filter((text) => text !== undefined))
      })
    assert.ok(notices.length >= 8, notices.join('\n'))
    assert.deepEqual(
      notices.filter((notice) => !page.includes(`\`${notice.replace(/:.*/, '').trimEnd()}`)),
      [],
    )
  })

  it('shows a refusal and an allow with the fields that they have', async () => {
    const allowed: object[] = []
    const service = await startService({
      audit: { info: (fields, msg) => void allowed.push({ ...fields, msg }) },
    })
    after(() => service.close())
    const send = (token: string) =>
      verify(service, 'default', {
        Authorization: `Bearer ${token}`,
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      })
    await send(v2User({ scp: 'Other' }))
    await send(v2User())
    const refused = JSON.parse(service.log.at(-1) ?? '{}')
    assert.deepEqual(Object.keys(exampleOf('refused')), Object.keys(refused))
    const own = Object.keys(exampleOf('allowed')).filter((key) => !/^(level|time)$/.test(key))
    assert.deepEqual(own, Object.keys(allowed[0] ?? {}))
  })

  it('shows the line of HAProxy with the fields of the shipped log format', () => {
    const namesOf = (text: string | undefined) =>
      [...(text ?? '').matchAll(/(\w+)=/g)].map(([, name]) => name)
    const format = /log-format "(request_id.*)"/.exec(readFileSync(shippedConfig, 'utf8'))?.[1]
    assert.deepEqual(namesOf(/^request_id=.*$/m.exec(page)?.[0]), namesOf(format))
  })
})
