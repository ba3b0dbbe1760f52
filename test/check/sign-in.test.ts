import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { checkSignIn, type SignInCheckContext } from '../../src/check/sign-in.ts'
import type { Config } from '../../src/config/config.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { createHttp } from '../../src/keys/http.ts'
import { ids, startMs } from '../support/ids.ts'
import { loadFile } from '../support/service.ts'
import { signIn } from '../support/sessions.ts'

const dayMs = 24 * 3_600_000
const tls = await createTlsIdentity(() => startMs, randomBytes)
let answer: { status: number; body: unknown } = { status: 200, body: { access_token: 't' } }
const forms: URLSearchParams[] = []
const server = createServer(async (request, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  forms.push(new URLSearchParams(Buffer.concat(chunks).toString()))
  response.writeHead(answer.status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(answer.body))
})
let authority = ''
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  authority = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
after(() => server.close())

const config = (section: object = {}, more: object = {}): Promise<Config> =>
  loadFile({
    tenants: { contoso: { id: ids.contoso, authority } },
    signIn: { ...signIn, ...section },
    policies: { default: { allow: [{ actor: 'user', session: true }] } },
    ...more,
  })

async function findingsOf(loaded: Config, context: Partial<SignInCheckContext> = {}) {
  const findings = await checkSignIn(loaded, {
    clock: () => startMs,
    env: {},
    readFile: () => 'secret',
    modifiedMs: () => startMs - 100 * dayMs,
    listFolder: () => ['1.key'],
    sizeOf: () => 1_000,
    readSealingKeys: async () => {},
    randomId: () => 'id',
    createHttp: () => createHttp(),
    offline: false,
    onProgress() {},
    ...context,
  })
  return findings.map(({ level, path, message }) => `${level} ${path}: ${message}`)
}

describe('check of sign-in', () => {
  it('says nothing where nobody signs in', async () => {
    const { signIn: _, ...rest } = await config()
    assert.deepEqual(await findingsOf(rest as Config), [])
  })

  it('prints the exact redirect URIs', async () => {
    const hosts = ['portal.contoso.com', 'wiki.contoso.com:8443', 'localhost']
    const [note, back] = await findingsOf(await config({ hosts }), { offline: true })
    assert.match(
      back ?? '',
      /^note signIn\.hosts: .* after a sign-out: https:\/\/portal\.contoso\.com\/oauth2\/signed_out .* http:\/\/localhost\/oauth2\/signed_out$/,
    )
    assert.equal(
      note,
      'note signIn.hosts: redirect URIs to register: https://portal.contoso.com/oauth2/callback https://wiki.contoso.com:8443/oauth2/callback http://localhost/oauth2/callback',
    )
  })

  it('warns of a secret and tells its age, of no place for revocations and of no sealing key', async () => {
    const found = (
      await findingsOf(await config(), { offline: true, listFolder: () => undefined })
    ).join('\n')
    assert.match(found, /warning signIn: has no place for revocations/)
    assert.match(found, /warning signIn\.sealingKeys: is no folder yet/)
    assert.match(found, /warning signIn\.credential\.clientSecretFile: .*the file is 100 days old/)
    const calm = await findingsOf(await config({}, { revocationFile: '/r.json' }), {
      offline: true,
    })
    assert.equal(calm.filter((line) => line.startsWith('warning')).length, 1)
  })

  it('says what is wrong with the sealing keys', async () => {
    const lineFor = async (message: string) => {
      const readSealingKeys = () => Promise.reject(new Error(message))
      const found = await findingsOf(await config(), { offline: true, readSealingKeys })
      return found.find((line) => line.includes('signIn.sealingKeys'))
    }
    assert.equal(
      await lineFor('1.key is no sealing key: 32 to 1024 bytes'),
      'problem signIn.sealingKeys: cannot be used: 1.key is no sealing key: 32 to 1024 bytes',
    )
    assert.match((await lineFor('1.key cannot be read (EACCES)')) ?? '', /^warning /)
  })

  it('says what is wrong with the picture of the pages', async () => {
    const loaded = await config({ page: { logoFile: '/logo.svg' } })
    const linesFor = async (context: Partial<SignInCheckContext>) =>
      (await findingsOf(loaded, { offline: true, ...context })).filter((line) =>
        line.includes('logoFile'),
      )
    assert.deepEqual(await linesFor({}), [])
    assert.deepEqual(await linesFor({ sizeOf: () => 32 * 1024 + 1 }), [
      'problem signIn.page.logoFile: is larger than 32 KiB',
    ])
    const readFile = () => {
      throw Object.assign(new Error('no'), { code: 'ENOENT' })
    }
    assert.deepEqual(await linesFor({ readFile }), [
      'problem signIn.page.logoFile: cannot be read (ENOENT)',
    ])
  })

  it('warns where nobody is admitted with a session, and where Entra is never asked again', async () => {
    const token = { audiences: [ids.api], allow: [{ actor: 'user', scopes: 'any' }] }
    const nobody = await config({}, { policies: { default: token } })
    assert.match((await findingsOf(nobody, { offline: true })).join('\n'), /no policy admits them/)
    const late = await config({ recheckMinutes: 480 })
    assert.match(
      (await findingsOf(late, { offline: true })).join('\n'),
      /warning signIn\.recheckMinutes: is not shorter than sessionHours \(8 h\)/,
    )
    const usual = (await findingsOf(await config(), { offline: true })).join('\n')
    assert.doesNotMatch(usual, /no policy admits|recheckMinutes/)
  })

  it('gets a token with the credential', async () => {
    answer = { status: 200, body: { access_token: 't' } }
    const found = await findingsOf(await config())
    assert.ok(found.includes(`note signIn.credential: works: ${authority} takes clientSecretFile`))
    assert.equal(forms.at(-1)?.get('grant_type'), 'client_credentials')
    assert.equal(forms.at(-1)?.get('client_secret'), 'secret')
  })

  it('says what Entra objects to, or that nobody answers', async () => {
    const description = 'AADSTS7000222: The provided client secret keys are expired.'
    answer = { status: 401, body: { error: 'invalid_client', error_description: description } }
    const refused = (await findingsOf(await config())).at(-1)
    assert.equal(
      refused,
      'problem signIn.credential: is refused: clientSecretFile got 401 invalid_client AADSTS7000222',
    )
    for (const [error, level] of [
      ['invalid_request', 'problem'],
      ['invalid_grant', 'problem'],
      ['invalid_scope', 'note'],
      ['invalid_resource', 'note'],
      ['invalid_target', 'note'],
    ]) {
      answer = { status: 400, body: { error } }
      const found = (await findingsOf(await config())).at(-1) ?? ''
      assert.ok(found.startsWith(`${level} signIn.credential: `), `${error}: ${found}`)
    }
    // A throttle, an outage or a proxy on the way.
    for (const other of [
      { status: 500, body: {} },
      { status: 200, body: {} },
      { status: 200, body: 'please log in' },
      { status: 403, body: { error: 'access_denied' } },
      { status: 404, body: { error: 'invalid_scope' } },
      { status: 429, body: { error: 'too_many_requests' } },
      { status: 400, body: {} },
    ]) {
      answer = other
      const found = (await findingsOf(await config())).at(-1) ?? ''
      assert.match(found, /^unreachable signIn\.credential/, JSON.stringify(other))
    }
    const unreadable = {
      readFile: () => {
        throw Object.assign(new Error('no'), { code: 'EACCES' })
      },
    }
    assert.match(
      (await findingsOf(await config(), unreadable)).at(-1) ?? '',
      /^problem signIn\.credential: cannot be used: .*EACCES/,
    )
  })

  it('warns of a certificate that ends within 30 days', async () => {
    const credential = { certificateFile: '/c', keyFile: '/k' }
    const loaded = await config({ credential })
    const readFile = (path: string) => (path === '/c' ? tls.cert : tls.key)
    const endMs = Date.parse(new (await import('node:crypto')).X509Certificate(tls.cert).validTo)
    const at = async (nowMs: number) =>
      (await findingsOf(loaded, { offline: true, readFile, clock: () => nowMs })).find((line) =>
        line.includes('certificateFile'),
      )
    assert.equal(await at(endMs - 31 * dayMs), undefined)
    assert.match((await at(endMs - 29 * dayMs)) ?? '', /^warning .*certificate that ends at/)
    assert.match((await at(endMs)) ?? '', /^problem .*certificate that ended at/)
  })
})
