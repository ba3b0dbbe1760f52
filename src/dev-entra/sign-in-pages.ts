import { createHash } from 'node:crypto'
import type { UserPersona } from './personas.ts'

/** A piece of HTML that is safe to put into a page. */
export interface Html {
  readonly html: string
}

const style = `
:root{color-scheme:light dark;--text:#1b1b1b;--soft:#505050;--page:#f2f2f2;--box:#fff;--line:#8a8886;--blue:#0067b8;--on-blue:#fff;--alert:#a4262c}
@media(prefers-color-scheme:dark){:root{--text:#f3f2f1;--soft:#c8c6c4;--page:#1b1a19;--box:#292827;--line:#a19f9d;--blue:#6cb8f6;--on-blue:#1b1a19;--alert:#f1a6a9}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;flex-direction:column;align-items:center;justify-content:center;background:var(--page);color:var(--text);font:15px/1.4 "Segoe UI",system-ui,sans-serif}
main{width:min(440px,100%);margin:16px 0;padding:40px;background:var(--box);box-shadow:0 2px 6px rgb(0 0 0/.2)}
.brand{margin:0 0 16px;color:var(--soft);font-weight:600}
h1{margin:0 0 16px;font-size:24px;font-weight:600}
ul{margin:0 0 16px;padding:0;list-style:none}
.account{display:block;width:100%;padding:10px 12px;border:0;border-bottom:1px solid var(--line);background:none;color:inherit;font:inherit;text-align:start;cursor:pointer}
.account:hover{background:var(--page)}
.account span{display:block}
.soft,.account span+span{color:var(--soft);font-size:13px}
.alert{color:var(--alert)}
.buttons{display:flex;flex-wrap:wrap;gap:8px;justify-content:flex-end;margin:24px 0 0}
.button{display:inline-block;min-width:108px;padding:6px 12px;border:1px solid var(--line);background:none;color:inherit;font:inherit;text-align:center;text-decoration:none;cursor:pointer}
.main{border-color:var(--blue);background:var(--blue);color:var(--on-blue)}
a{color:var(--blue)}
:focus-visible{outline:2px solid var(--text);outline-offset:2px}
dl{margin:16px 0 0;font-size:13px;overflow-wrap:anywhere}
dt{font-weight:600}dd{margin:0 0 6px}
iframe{position:absolute;width:1px;height:1px;border:0;opacity:0}
footer{color:var(--soft);font-size:13px;padding:0 16px 16px}
`

const styleHash = createHash('sha256').update(style).digest('base64')

/** Headers of each page; `frames` are the origins that it calls in frames. */
export function pageHeaders(frames: readonly string[] = []): Record<string, string> {
  const frameSources = frames.length === 0 ? '' : `; frame-src ${frames.join(' ')}`
  return {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'x-frame-options': 'DENY',
    'referrer-policy': 'strict-origin-when-cross-origin',
    'x-content-type-options': 'nosniff',
    // No form-action: the answer to a form is a redirect to the application.
    'content-security-policy': `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; frame-ancestors 'none'${frameSources}`,
  }
}

/** HTML from a template, in which every text is escaped. */
export function html(
  parts: TemplateStringsArray,
  ...values: (string | Html | readonly Html[])[]
): Html {
  const asHtml = (value: string | Html | readonly Html[]): string => {
    if (typeof value === 'string') return escapeHtml(value)
    return 'html' in value ? value.html : value.map((part) => part.html).join('')
  }
  return {
    html: parts
      .map((part, at) => part + (at < values.length ? asHtml(values[at] ?? '') : ''))
      .join(''),
  }
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

/** A whole page; `refreshTo` is where it goes by itself after a moment. */
export function shapePage(title: string, body: Html, refreshTo?: string): string {
  const refresh =
    refreshTo === undefined
      ? html``
      : html`<meta http-equiv="refresh" content="1;url=${refreshTo}">`
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">${refresh}<title>${title} - dev-entra</title><style>${{ html: style }}</style></head>
<body><main><p class="brand">dev-entra</p><h1>${title}</h1>${body}</main>
<footer>A stand-in for Microsoft Entra ID. Its sign-ins prove nothing.</footer></body></html>
`.html
}

/** The form of a page; `hidden` are answers that were given before. */
export function shapeForm(
  action: string,
  hidden: Readonly<Record<string, string>>,
  body: Html,
): Html {
  const fields = Object.entries(hidden).map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
  )
  return html`<form method="post" action="${action}">${fields}${body}</form>`
}

function fullName({ givenName, familyName }: UserPersona): string {
  return `${givenName} ${familyName}`
}

function shapeAlert(alert: string | undefined): Html {
  return alert === undefined ? html`` : html`<p class="alert" role="alert">${alert}</p>`
}

/** The list of accounts to click. */
export function shapeAccounts(
  candidates: readonly UserPersona[],
  signedIn: ReadonlySet<string>,
  alert?: string,
): Html {
  const rows = candidates.map(
    (persona) =>
      html`<li><button class="account" name="account" value="${persona.name}"><span dir="auto">${fullName(persona)}</span><span>${persona.upn}${signedIn.has(persona.name) ? ' · Signed in' : ''}</span><span>${persona.about}</span></button></li>`,
  )
  return html`${shapeAlert(alert)}<ul>${rows}</ul>`
}

/** What stands in place of the password. */
export function shapeEnter(persona: UserPersona, alert?: string): Html {
  return html`${shapeAlert(alert)}<p><span dir="auto">${fullName(persona)}</span><br><span class="soft">${persona.upn}</span></p>
<p class="soft">dev-entra asks for no password.</p>
<div class="buttons"><button class="button" name="other" value="yes">Use another account</button><button class="button main" name="account" value="${persona.name}">Sign in</button></div>`
}

/** The question for a second factor, or to enrol one. */
export function shapeMultiFactor(persona: UserPersona, enrol: boolean): Html {
  const text = enrol
    ? 'Your organization needs more information to keep your account secure.'
    : 'Open your Authenticator app, and approve the request to sign in.'
  const label = enrol ? 'Next' : 'Approve'
  return html`<p class="soft">${persona.upn}</p><p>${text}</p>
<div class="buttons"><button class="button main" name="multi_factor" value="yes">${label}</button></div>`
}

/** The question for consent. */
export function shapeConsent(
  persona: UserPersona,
  application: string,
  scopes: readonly string[],
): Html {
  return html`<p class="soft">${persona.upn}</p><p><strong>${application}</strong> would like to:</p>
<ul>${scopes.map((scope) => html`<li>${scope}</li>`)}</ul>
<p class="soft">Accepting these permissions means that you allow this app to use your data.</p>
<div class="buttons"><button class="button" name="consent" value="cancel">Cancel</button><button class="button main" name="consent" value="accept">Accept</button></div>`
}

/** The details of an error, as people are asked to send them to their administrator. */
export function shapeErrorDetails(error: {
  readonly description: string
  readonly requestId: string
  readonly correlationId: string
  readonly timestamp: string
}): Html {
  return html`<p class="alert" role="alert">${error.description}</p>
<dl><dt>Request Id</dt><dd>${error.requestId}</dd><dt>Correlation Id</dt><dd>${error.correlationId}</dd><dt>Timestamp</dt><dd>${error.timestamp}</dd></dl>`
}
