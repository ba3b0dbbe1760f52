import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { after, describe, it } from 'node:test'
import { shippedConfig } from '../../scripts/local-stack/haproxy.ts'
import { contoso, ordersId, startAuthority } from '../serve/authority.ts'
import { makeFolder, startService as startProcess } from '../serve/process.ts'
import { startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const page = readFileSync(new URL('../../docs/logs.md', import.meta.url), 'utf8')
const examples: Readonly<Record<string, unknown>>[] = [...page.matchAll(/```json\n(.*)\n```/g)].map(
  ([, line = '']) => JSON.parse(line),
)

/** The names of all members, those inside of others too. */
function fieldsOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fieldsOf)
  if (typeof value !== 'object' || value === null) return undefined
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, fieldsOf(inner)]))
}

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

  it('gives each message its level, and from level 40 on says what to do', () => {
    const levels: Readonly<Record<string, string>> = {
      info: '30',
      warn: '40',
      error: '50',
      fatal: '60',
    }
    const source = resolve(import.meta.dirname, '../../src')
    const inCode = readdirSync(source, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !file.startsWith('dev-entra'))
      .flatMap((file) => [
        ...readFileSync(join(source, file), 'utf8').matchAll(
          /\blog\.(info|warn|error|fatal)\([^']*?'([^']+)',?\s*\)/g,
        ),
      ])
      .map(([, method = '', message = '']) => [message, levels[method] ?? ''] as const)
    const [, table = ''] = /^\| `msg` \| level \|.*\n\|[-|]+\n((?:\|.*\n)+)/m.exec(page) ?? []
    const rows = table
      .trim()
      .split('\n')
      .map((row) =>
        row
          .slice(1, -1)
          .split(' | ')
          .map((cell) => cell.trim()),
      )
    const levelOf = new Map(
      rows.flatMap(([messages = '', level = '']) => {
        const each = level.split(', ')
        return [...messages.matchAll(/`([^`]+)`/g)].map(
          ([, message = ''], index) => [message, each[index] ?? each[0]] as const,
        )
      }),
    )
    const compared = inCode.filter(([message]) => levelOf.has(message))
    assert.ok(compared.length > 25, `${compared.length} compared`)
    for (const [message, level] of compared) assert.equal(levelOf.get(message), level, message)
    const silent = rows.filter(
      ([, level = '', , action = '']) => Number.parseInt(level, 10) >= 40 && action.length < 5,
    )
    assert.deepEqual(silent, [])
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

  it('says of each field of a refusal what it is', () => {
    const rows = [...page.matchAll(/^\|(.*?)\|/gm)].map(([, cell = '']) => cell).join()
    const unsaid = Object.keys(exampleOf('refused')).filter((key) => !rows.includes(`\`${key}\``))
    assert.deepEqual(unsaid, [])
  })

  it('shows the first line of a process with the fields that it has', async () => {
    const life = { after: (cleanUp: () => unknown) => after(() => cleanUp()) }
    const authority = await startAuthority(life)
    const file = join(makeFolder(life), 'config.yaml')
    writeFileSync(
      file,
      `
tenants: { contoso: { id: ${contoso}, authority: "${authority.origin}" } }
policies: { orders: { audiences: [${ordersId}], allow: [{ actor: user, scopes: any }] } }
`,
    )
    const process = await startProcess(life, { ENTRA_AUTH_CONFIG: file })
    const line = await process.waitForLog(({ msg }) => msg === 'listening')
    assert.deepEqual(fieldsOf(exampleOf('listening')), fieldsOf(line))
  })

  it('shows the line of HAProxy with the fields of the shipped log format', () => {
    const namesOf = (text: string | undefined) =>
      [...(text ?? '').matchAll(/(\w+)=/g)].map(([, name]) => name)
    const format = /log-format "(request_id.*)"/.exec(readFileSync(shippedConfig, 'utf8'))?.[1]
    assert.deepEqual(namesOf(/^request_id=.*$/m.exec(page)?.[0]), namesOf(format))
  })
})
