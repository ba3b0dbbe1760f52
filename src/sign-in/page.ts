import { createHash } from 'node:crypto'
import { type EntraDetails, type ProblemCode, problems } from './problems.ts'

/** What whoever runs the service puts on each page. */
export interface PageStyle {
  readonly text: string | undefined
  /** A `data:` address. */
  readonly logo: string | undefined
}

/** Something to press: a link, or a form that is posted. */
export interface PageAction {
  readonly label: string
  readonly href: string
  readonly isPost?: boolean
}

/** What stands on a page. */
export interface PageContent {
  readonly title: string
  readonly paragraphs: readonly string[]
  readonly details?: readonly (readonly [name: string, value: string | undefined])[]
  readonly action?: PageAction | undefined
}

const style = `
:root{color-scheme:light dark;--back:#f3f4f6;--card:#fff;--text:#1b1b1f;--soft:#4b4f58;--accent:#0b5cad;--on:#fff}
@media (prefers-color-scheme:dark){:root{--back:#16181d;--card:#22252c;--text:#f2f2f5;--soft:#c0c4cd;--accent:#8cc4ff;--on:#10131a}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;align-items:center;justify-content:center;background:var(--back);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
main{width:min(36rem,calc(100% - 2rem));margin:1rem;padding:2rem;background:var(--card);border-radius:.75rem}
img{display:block;max-width:12rem;max-height:4rem;margin-bottom:1.5rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}
p{margin:0 0 1rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:0 0 1.5rem;color:var(--soft);font-size:.875rem}
dt{margin:0}dd{margin:0;overflow-wrap:anywhere}
.action{display:inline-block;padding:.6rem 1.25rem;border:0;border-radius:.375rem;background:var(--accent);color:var(--on);font:inherit;text-decoration:none;cursor:pointer}
.action:focus-visible{outline:3px solid var(--text);outline-offset:2px}
footer{margin-top:1.5rem;color:var(--soft);font-size:.875rem}
`

const styleHash = createHash('sha256').update(style).digest('base64')

/**
 * The policy of each page: no script, nothing from elsewhere, no frame. `authority` may be the target of
 * the sign-out form, since browsers judge where a posted form is redirected to as well.
 */
export function contentSecurityPolicy(authority: string): string {
  return [
    "default-src 'none'",
    `style-src 'sha256-${styleHash}'`,
    'img-src data:',
    `form-action 'self' ${authority}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

/** The page of an error. */
export function createProblemPage(
  code: ProblemCode,
  {
    details,
    action,
    style: own,
  }: { details?: EntraDetails; action?: PageAction | undefined; style: PageStyle },
): string {
  const { title, text, advice } = problems[code]
  return createPage(own, {
    title,
    paragraphs: [text, advice],
    details: [
      ['Reason', code],
      ['Number', details?.number],
      ['Correlation ID', details?.correlationId],
    ],
    action,
  })
}

/** The page that asks before it signs out. */
export function createSignOutPage(own: PageStyle, name: string | undefined): string {
  return createPage(own, {
    title: 'Sign out?',
    paragraphs: [
      name === undefined
        ? 'Do you want to sign out of this application?'
        : `You are signed in as ${name}. Do you want to sign out?`,
    ],
    action: { label: 'Sign out', href: '/oauth2/sign_out', isPost: true },
  })
}

/** The page after signing out. */
export function createSignedOutPage(own: PageStyle): string {
  return createPage(own, {
    title: 'You are signed out',
    paragraphs: ['Your session here has ended. Close the browser on a computer that others use.'],
    action: { label: 'Sign in again', href: '/' },
  })
}

/** A page of the one form that all have. */
export function createPage(
  own: PageStyle,
  { title, paragraphs, details = [], action }: PageContent,
): string {
  const rows = details.flatMap(([name, value]) =>
    value === undefined
      ? []
      : [`<dt>${escapeHtml(name)}</dt><dd><bdi>${escapeHtml(value)}</bdi></dd>`],
  )
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="robots" content="noindex">',
    `<title>${escapeHtml(title)}</title>`,
    `<style>${style}</style>`,
    '</head>',
    '<body>',
    '<main>',
    own.logo === undefined ? '' : `<img src="${escapeHtml(own.logo)}" alt="">`,
    `<h1>${escapeHtml(title)}</h1>`,
    ...paragraphs.map((text) => `<p dir="auto">${escapeHtml(text)}</p>`),
    rows.length === 0 ? '' : `<dl>${rows.join('')}</dl>`,
    action === undefined ? '' : formatAction(action),
    own.text === undefined ? '' : `<footer>${escapeHtml(own.text)}</footer>`,
    '</main>',
    '</body>',
    '</html>',
    '',
  ]
    .filter((line) => line !== '')
    .join('\n')
}

function formatAction({ label, href, isPost }: PageAction): string {
  return isPost
    ? `<form method="post" action="${escapeHtml(href)}"><button class="action" type="submit">${escapeHtml(label)}</button></form>`
    : `<p><a class="action" href="${escapeHtml(href)}">${escapeHtml(label)}</a></p>`
}

/**
 * Text for HTML, in an element or a quoted attribute. Without the characters that turn the direction of
 * what follows: a name with one would reorder the sentence around it.
 */
function escapeHtml(text: string): string {
  return text
    .replace(/[\u202A-\u202E\u2066-\u2069]/g, '')
    .replace(/[\p{Cc}\u2028\u2029]/gu, ' ')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}
