import { host } from '../support/sessions.ts'

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
export const spellings = [
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
export const harmless = [
  '/',
  '/path',
  `/@${evil}`,
  `/;${evil}`,
  `/path?next=https://${evil}/x//y`,
  `/path?a=%2f%2f${evil}`,
  '/a.b/c..d/x%20y/e~f',
  '/oauth2x',
  '/docs/oauth2/start',
  '/a/.well-known/..b/c.',
  `/${'a'.repeat(1_023)}`,
]
