import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formsOfSecrets, withoutSecrets } from '../../src/secrets.ts'

const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzM2NyM3QifQ.czNjcjN0LXNpZ25hdHVyZQ'
const pem = '-----BEGIN PRIVATE KEY-----\\ns3cr3tMIIEvQIBADANBgk\\n-----END PRIVATE KEY-----'

const hidden: readonly (readonly [string, string, string])[] = [
  [
    'in an address',
    'no answer of http://user:s3cr3t@proxy:3128/x',
    'no answer of http://***@proxy:3128/x',
  ],
  ['in an address, alone', 'rediss://s3cr3t@store:6379', 'rediss://***@store:6379'],
  [
    'in an address, with slash and @',
    'bad: http://user:s3/cr3t@s3cr3t@proxy/',
    'bad: http://***@proxy/',
  ],
  ['in a proxy without a scheme', '{"p":"user:s3cr3t@10.0.0.1:3128"}', '{"p":"***@10.0.0.1:3128"}'],
  [
    'as basic credentials',
    'Proxy-Authorization: Basic dXNlcjpzM2NyM3Q=',
    'Proxy-Authorization: Basic ***',
  ],
  [
    'as bearer token',
    '"authorization":"Bearer s3cr3t-opaque.value"',
    '"authorization":"Bearer ***"',
  ],
  ['as JSON Web Token', `refused ${jwt}, sorry`, 'refused ***, sorry'],
  ['as half a JSON Web Token', `{"t":"${jwt.slice(0, 30)}"}`, '{"t":"***"}'],
  [
    'as form',
    'client_id=a&client_secret=s3cr3t~x&scope=b',
    'client_id=a&client_secret=***&scope=b',
  ],
  ['as JSON', '{"refresh_token": "s3cr3t","a":1}', '{"refresh_token": "***","a":1}'],
  [
    'as JSON in a line',
    '"{\\"client_assertion\\":\\"s3cr3t\\"}"',
    '"{\\"client_assertion\\":\\"***\\"}"',
  ],
  [
    'as code of a redirect',
    'GET /oauth2/callback?code=s3cr3t&state=x',
    'GET /oauth2/callback?code=***&state=x',
  ],
  ['as private key', `not read: ${pem}!`, 'not read: ***!'],
]

describe('a text loses what looks like a secret', () => {
  for (const [where, text, clean] of hidden) {
    it(where, () => assert.equal(withoutSecrets(text), clean))
  }

  it('and what is known to be one, in each form', () => {
    const forms = formsOfSecrets(['s3cr3t "pass" wörd/+', undefined, 'short'])
    const text = [
      's3cr3t "pass" wörd/+',
      JSON.stringify({ a: 's3cr3t "pass" wörd/+' }),
      encodeURIComponent('s3cr3t "pass" wörd/+'),
      Buffer.from('s3cr3t "pass" wörd/+').toString('base64'),
      'short',
    ].join(' ')
    assert.equal(withoutSecrets(text, forms), '*** {"a":"***"} *** *** short')
  })

  it('the longer one first where one is a part of another', () => {
    assert.equal(
      withoutSecrets('a secret-secret', formsOfSecrets(['secret', 'secret-secret'])),
      'a ***',
    )
  })
})

describe('a text keeps', () => {
  for (const text of [
    'https://login.microsoftonline.com/common/v2.0 answered 404',
    'connect ECONNREFUSED 127.0.0.1:3128',
    '{"time":1,"user":"11111111-1111-4111-8111-111111111111/a","name":"alice@contoso.com"}',
    'set OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20… instead',
    'at file:///app/dist/keys/http.js:10:20',
    'send it as "Authorization: Bearer TOKEN"',
    'exit code=78',
  ]) {
    it(JSON.stringify(text), () => assert.equal(withoutSecrets(text), text))
  }
})

it('a hostile text costs no more than in proportion to its length', () => {
  for (const piece of [
    'a://',
    'eyJ',
    'bearer ',
    'a:b',
    '-----BEGIN PRIVATE KEY-----',
    'password=',
    'a',
    '?code=',
  ]) {
    const cpu = (length: number) => {
      const text = piece.repeat(length / piece.length)
      const began = process.cpuUsage()
      withoutSecrets(text)
      const { user, system } = process.cpuUsage(began)
      return user + system
    }
    cpu(40_000)
    const [small, large] = [cpu(40_000), cpu(320_000)]
    // Quadratic would be 64 times as much.
    assert.ok(
      large < 30 * small + 50_000,
      `${piece}: ${small} µs, eight times the text ${large} µs`,
    )
  }
})
