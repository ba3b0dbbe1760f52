/** The queries of docs/log-queries.md, against lines that the service has written. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, describe, it } from 'node:test'
import { raw } from 'jq-wasm'
import { ids } from '../support/ids.ts'
import { verify } from '../support/service.ts'
import { askedOf, callbackOf, openBrowser, startSignIn } from '../support/sign-in.ts'
import { v2User } from '../support/tokens.ts'

const page = readFileSync(new URL('../../docs/log-queries.md', import.meta.url), 'utf8')
const requestId = '7F000001:8A4C'
const user = `${ids.contoso}/${ids.user}`

/** The queries in a language, by what they are for. */
function queriesIn(language: string): ReadonlyMap<string, string> {
  const found = page.matchAll(
    new RegExp(`\\n([^\\n]+):\\n\\n\`\`\`${language}\\n(.+?)\\n\`\`\``, 'gs'),
  )
  return new Map([...found].map(([, title = '', query = '']) => [title.split(',')[0] ?? '', query]))
}

let log = ''
/** Names of fields at any depth, as `a`, `a.b`. */
const fields = new Set<string>()

function collect(value: unknown, path: string): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return
  for (const [key, inner] of Object.entries(value)) {
    const name = path === '' ? key : `${path}.${key}`
    fields.add(name)
    collect(inner, name)
  }
}

before(async () => {
  const service = await startSignIn()
  try {
    const send = (token: string) =>
      verify(service, 'mixed', { Authorization: `Bearer ${token}`, 'X-Request-Id': requestId })
    await send(v2User({ scp: 'Other' }))
    await send(v2User({ scp: 'Other', azp: undefined }))
    await service.app.admin.inject({
      method: 'POST',
      url: '/revocations',
      headers: { 'x-entra-auth-operator': 'sam' },
      payload: { kind: 'user', id: user },
    })
    const browser = openBrowser(service)
    const asked = askedOf(await browser.visit('/oauth2/start?rd=/'))
    const error_description = `AADSTS65004: x. Correlation ID: ${ids.user}`
    await browser.visit(callbackOf(asked, { error: 'access_denied', error_description }))
  } finally {
    await service.close()
  }
  log = service.log.join('\n')
  for (const line of service.log) collect(JSON.parse(line), '')
})

describe('the queries for jq', () => {
  /** Runs the program of a query as the shell hands it over. */
  async function ask(title: string) {
    const query = queriesIn('sh').get(title) ?? assert.fail(`no query: ${title}`)
    const [, flag = '', program = ''] = /^jq (-\w) '(.*)'$/s.exec(query) ?? assert.fail(query)
    const text = await raw(log, program, flag === '-s' ? ['-s', '-c'] : [flag])
    return text.trim().split('\n')
  }
  const objects = async (title: string): Promise<any[]> =>
    (await ask(title)).map((line) => JSON.parse(line))

  it('find a request, by its id', async () => {
    const found = await objects('What happened to one request')
    assert.deepEqual(new Set(found.map((line) => line.requestId)), new Set([requestId]))
    assert.ok(found.some((line) => line.reason === 'scope_missing'))
  })

  it('count refusals', async () => {
    const [counts = []] = await objects('Refusals by policy and reason')
    const one = counts.find(({ reason }: { reason: string }) => reason === 'scope_missing')
    assert.ok(one, JSON.stringify(counts))
    assert.equal(one.policy, 'mixed')
    assert.ok(one.count >= 1)
  })

  it('tell who lacks what', async () => {
    const [line = ''] = await ask('Who lacks what')
    assert.equal(line, `${ids.user}\tmixed\tthe scope Orders.Read\tthe scope Other`)
  })

  it('list sign-ins that Entra refused', async () => {
    const [line] = await objects('Sign-ins that Entra refused')
    const { time, ...rest } = line
    assert.equal(typeof time, 'number')
    assert.deepEqual(Object.keys(rest), ['reason', 'error', 'number', 'correlationId'])
    assert.deepEqual(
      [rest.reason, rest.error, rest.number],
      ['access_denied', 'access_denied', 'AADSTS65004'],
    )
  })

  it('tell who revoked what', async () => {
    const [line] = await objects('Who revoked what')
    assert.deepEqual([line.by, line.kind, line.id], ['sam', 'user', user])
  })

  it('list warnings and errors, of both forms of level', async () => {
    const found = await objects('Warnings and errors')
    assert.ok(found.length > 0 && found.every(({ level }) => level >= 40))
    const named = await raw(
      '{"level":"warn"}\n{"level":"info"}',
      /'(.*)'/s.exec(queriesIn('sh').get('Warnings and errors') ?? '')?.[1] ?? '',
      ['-c'],
    )
    assert.equal(named.trim(), '{"level":"warn"}')
  })
})

describe('the queries for Loki, Splunk and Azure Monitor', () => {
  /** The fields that a query reads, in the spelling of its language. */
  const readers: Readonly<Record<string, (query: string) => string[]>> = {
    logql: (query) => [
      ...[...query.replace(/\{job=[^}]*\}/, '').matchAll(/\b(\w+)(?:=~|!=|=)"/g)].map(
        ([, name = '']) => name,
      ),
      ...[...query.matchAll(/\{\{\.(\w+)\}\}/g)].map(([, name = '']) => name),
      ...(/\bby \(([^)]*)\)/.exec(query)?.[1]?.split(', ') ?? []),
    ],
    spl: (query) => [
      ...[...query.replace(/^.*\| spath/, '').matchAll(/([\w.]+)(?:=| IN )/g)].map(
        ([, name = '']) => name,
      ),
      ...[...query.matchAll(/(?:table|count by) ([\w., ]+?)(?: \||$)/gm)].flatMap(
        ([, names = '']) => names.split(', '),
      ),
    ],
    kusto: (query) => [...query.matchAll(/\bentry\.([\w.]+)/g)].map(([, name = '']) => name),
  }
  for (const [language, read] of Object.entries(readers)) {
    it(`in ${language} read fields that the log has, and ask what the others ask`, () => {
      const queries = queriesIn(language)
      assert.deepEqual([...queries.keys()], [...queriesIn('sh').keys()])
      const known = [...fields].map((name) =>
        language === 'logql' ? name.replaceAll('.', '_') : name,
      )
      for (const [title, query] of queries) {
        const names = read(query)
        assert.ok(names.length > 0, `${title}: ${query}`)
        assert.deepEqual(
          names.filter((name) => !known.includes(name)),
          [],
          title,
        )
      }
    })
  }

  it('ask for messages that the log has', () => {
    const messages = new Set(
      [...page.matchAll(/msg ?==? ?"([^"]+)"/g)].map(([, message = '']) => message),
    )
    assert.ok(messages.size >= 3)
    for (const message of messages) assert.ok(log.includes(`"msg":"${message}"`), message)
  })
})
