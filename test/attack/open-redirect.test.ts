import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { readReturnPath } from '../../src/sign-in/return-path.ts'
import { host } from '../support/sessions.ts'
import {
  askedOf,
  callbackOf,
  grantCode,
  openBrowser,
  type SignInService,
  startSignIn,
} from '../support/sign-in.ts'

const evil = 'evil.example'
const slashes = ['//', '///', '////', '/\\', '\\\\', '\\/', '/\\/', '\\', '//\\', '/\\\\']
const encodings = [
  '%2f%2f',
  '%2F%2F',
  '/%2f',
  '/%2F',
  '%5c%5c',
  '/%5c',
  '/%5C',
  '%2f%5c',
  '/%252f',
  '/%255c',
  '/%25252f',
  '/%c0%af',
]
const invisible = [
  '\t',
  '\n',
  '\r',
  '\0',
  '\v',
  '\f',
  ' ',
  '\u00a0',
  '\u200b',
  '\u2028',
  '\ufeff',
  '\u0085',
  '\u3000',
]
const escaped = ['%09', '%0a', '%0d', '%00', '%0b', '%20', '%C2%85', '%e2%80%a8', '%7f']
const dots = [
  '/./',
  '/../',
  '/.',
  '/..',
  '/%2e/',
  '/%2e%2e/',
  '/.%2e/',
  '/%252e%252e/',
  '/..;/',
  '/.;/',
  '/a/..//',
  '/a/%2e%2e/%2f',
]
const schemes = [
  'http:',
  'https:',
  'javascript:',
  'data:text/html,',
  'vbscript:',
  'file:',
  'ftp:',
  'HTTPS:',
  'ws:',
  'blob:',
  'mailto:',
  'intent:',
]
const lookalikes = ['／／', '⁄⁄', '∕∕', '╱╱', '＼＼', '。', '．', '﹨', '%EF%BC%8F%EF%BC%8F', '〱']

/** Ways to write `rd` that must not lead to another host. */
const spellings = [
  ...slashes.flatMap((slash) => [
    `${slash}${evil}`,
    `${slash}${evil}/path`,
    `${slash}user@${evil}`,
  ]),
  ...encodings.flatMap((code) => [`${code}${evil}`, `${code}${evil}/%2e%2e`]),
  ...invisible.flatMap((mark) => [`/${mark}/${evil}`, `${mark}//${evil}`, `/${mark}\\${evil}`]),
  ...escaped.flatMap((mark) => [`/${mark}/${evil}`, `${mark}//${evil}`]),
  ...dots.flatMap((dot) => [`${dot}/${evil}`, `${dot}\\${evil}`]),
  ...schemes.flatMap((scheme) => [`${scheme}//${evil}`, `${scheme}${evil}`, ` ${scheme}//${evil}`]),
  ...lookalikes.flatMap((mark) => [`${mark}${evil}`, `/${mark}${evil}`]),
  evil,
  `@${evil}`,
  `.${evil}`,
  `:443@${evil}`,
  `?//${evil}`,
  `#//${evil}`,
  `/#@${evil}`,
  `${host}@${evil}`,
  `https://${host}@${evil}/`,
  `https://${host}.${evil}/`,
  `https://${evil}/${host}`,
  `//${host}.${evil}`,
  `/path//${evil}`,
  `/%`,
  `/%zz`,
  `/%ff`,
  `/${'a'.repeat(1_024)}`,
  '',
]

/** Those that are a path on this host, strange as they look. */
const harmless = [
  '/',
  '/path',
  `/@${evil}`,
  `/;${evil}`,
  `/path?next=https://${evil}/x//y`,
  `/path?a=%2f%2f${evil}`,
  '/a.b/c..d/x%20y/e~f',
  '/oauth2x',
  `/${'a'.repeat(1_023)}`,
]

describe('rd', () => {
  it(`is / in each of ${spellings.length} other spellings`, () => {
    assert.ok(spellings.length >= 150)
    for (const rd of spellings) assert.equal(readReturnPath(rd), '/', JSON.stringify(rd))
  })

  it('that is a path on this host stays as it is', () => {
    for (const rd of harmless) assert.equal(readReturnPath(rd), rd)
  })

  it('twice, or as anything but text, is /', () => {
    for (const rd of [['/a', '/b'], ['/a'], undefined, null, 1, {}]) {
      assert.equal(readReturnPath(rd), '/')
    }
  })

  it('does not lead back into the sign-in', () => {
    for (const rd of [
      '/oauth2',
      '/oauth2/start',
      '/OAuth2/sign_out',
      '/%6fauth2/start',
      '/oauth2%2fstart',
    ]) {
      assert.equal(readReturnPath(rd), '/')
    }
  })
})

describe('the redirect after a sign-in', () => {
  let service: SignInService
  before(async () => {
    service = await startSignIn()
  })
  after(() => service.close())

  it('stays on the host as a browser reads it, whatever stands in rd', async () => {
    const tried = [...harmless, ...spellings.filter((_, i) => i % 7 === 0)]
    for (const rd of tried) {
      const browser = openBrowser(service)
      const asked = askedOf(await browser.visit(`/oauth2/start?rd=${encodeURIComponent(rd)}`))
      const { code } = grantCode(service.authority, asked)
      const page = await browser.visit(callbackOf(asked, { code }))
      assert.equal(page.status, 302)
      const location = new URL(page.location ?? '', `https://${host}/oauth2/callback`)
      assert.equal(location.origin, `https://${host}`, JSON.stringify(rd))
      assert.equal(page.location?.startsWith('//'), false)
    }
  })
})
