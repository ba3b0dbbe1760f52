import type { Check, Explanation, RuleReport, Said } from '../explain/explanation.ts'
import type { AuthorityState } from '../keys/authority.ts'
import type { PolicyDescription } from '../policy/description.ts'
import type { StoredRevocation } from '../revocation/revocation.ts'
import type { RecentRefusal } from '../verify/recent-refusals.ts'
import { type Html, html } from './html.ts'
import type { Overview } from './overview.ts'

/** Which pages of the long lists are shown, and what is searched for. */
export interface View {
  /** From 1. */
  readonly revocations: number
  readonly policies: number
  readonly tenants: number
  readonly find: string
}

const perPage = { revocations: 100, policies: 25, tenants: 50 } as const

/** The page for whoever has no key yet, or a wrong one. It holds nothing of the service. */
export function createKeyPage(): string {
  return createDocument(html`<main id="page"><section>
<h1>haproxy-entra-auth</h1>
<p>This service asks for its admin key. The key stays in this page and goes nowhere but to this server.</p>
<form id="key-form" autocomplete="off">
<div class="row"><div><label for="key">Admin key</label>
<input id="key" type="password" autocomplete="off" required></div><button>Open</button></div>
</form>
<p id="denied" class="bad" role="alert"></p>
<noscript><p>Without scripts, send the key in the header Authorization: Bearer KEY.</p></noscript>
</section></main>`)
}

/** The page of what is in force. */
export function createOverviewPage(overview: Overview, view: View): string {
  return createDocument(html`<div id="page">
<header><h1>haproxy-entra-auth</h1>
<nav aria-label="Sections"><a href="#state">In force</a><a href="#policies">Policies</a><a href="#tenants">Tenants and keys</a><a href="#refusals">Refusals</a><a href="#revocations">Revocations</a><a href="#explain">Explain a token</a><a href="/" data-part="page">Refresh</a></nav>
<p id="notice" class="bad" role="alert"></p></header>
<main>
${formatState(overview)}
${formatPolicies(overview, view)}
${formatTenants(overview, view)}
${formatRefusals(overview)}
${formatRevocations(overview, view)}
${formatTokenForm(overview)}
</main>
</div>`)
}

/** The page of an explanation; the script takes its element `explanation`. */
export function createExplanationPage(explanation: Explanation): string {
  const { policy, verdict, reason, status, reportOnlyUntil, checks } = explanation
  const changes = checks.flatMap((check) => check.changes)
  return createDocument(html`<div id="explanation" tabindex="-1">
<p><span class="${verdict === 'allow' ? 'good' : 'bad'}">${verdict} ${status}${reason !== null && ` ${reason}`}</span> for policy <bdi>${policy}</bdi>${reportOnlyUntil !== null && `, only reported until ${reportOnlyUntil}`}</p>
${changes.length > 0 && html`<h3>What to change</h3><ul>${changes.map(({ where, text, rule }) => html`<li>${where}: ${rule && `for ${rule}: `}<bdi>${text}</bdi></li>`)}</ul>`}
${checks.map(formatCheck)}
</div>`)
}

function createDocument(content: Html): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>haproxy-entra-auth</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
${content}
</body>
</html>
`.text
}

function formatState({ version, sinceMs, nowMs, ready, store, certificateEndMs }: Overview): Html {
  return html`<section id="state" aria-labelledby="state-title"><h2 id="state-title">In force</h2>
<dl>
<dt>Readiness</dt><dd class="${ready === 'ready' ? 'good' : 'bad'}">${ready}</dd>
<dt>Configuration</dt><dd>version ${version}, since ${formatTime(sinceMs, nowMs)}</dd>
<dt>Certificate</dt><dd>${certificateEndMs === undefined ? 'none: the verify listener speaks plain HTTP' : html`ends ${formatTime(certificateEndMs, nowMs)}`}</dd>
${store && html`<dt>Store</dt><dd class="${store.reachable ? 'good' : 'bad'}">${store.reachable ? 'answers' : `does not answer: ${store.problem ?? ''}`}</dd>`}
<dt>This page</dt><dd>as of ${formatTime(nowMs, nowMs)}</dd>
</dl></section>`
}

function formatPolicies({ policies }: Overview, view: View): Html {
  const { shown, pager } = page(policies, 'policies', view)
  return html`<section id="policies" aria-labelledby="policies-title"><h2 id="policies-title">Policies (${policies.length})</h2>
${shown.map(formatPolicy)}${pager}</section>`
}

function formatPolicy(policy: PolicyDescription): Html {
  const { name, tenants, audiences, allow, deny, settings, reportOnlyUntil } = policy
  return html`<h3><bdi>${name}</bdi></h3>
${reportOnlyUntil && html`<p class="bad">Refuses nobody until ${reportOnlyUntil}.</p>`}
<ul>${deny.map(({ words }) => html`<li><span class="bad">denies</span> <bdi>${words}</bdi></li>`)}${allow.map(({ words }) => html`<li><span class="good">allows</span> <bdi>${words}</bdi></li>`)}</ul>
<p class="soft">Tenants: <bdi>${shorten(tenants.map((tenant) => tenant.name))}</bdi>. Audiences: <bdi>${shorten(audiences) || 'none'}</bdi>. ${settings.join('; ')}.</p>`
}

function formatTenants({ authorities, elapsedMs }: Overview, view: View): Html {
  const { shown, pager } = page(authorities, 'tenants', view)
  const rows = shown.flatMap((authority) =>
    (['2.0', '1.0'] as const).map((version) => formatIssuer(authority, version, elapsedMs)),
  )
  return html`<section id="tenants" aria-labelledby="tenants-title"><h2 id="tenants-title">Tenants and keys (${authorities.length})</h2>
${table('Tenants and keys', ['Tenant', 'Tokens', 'Keys', 'Read', 'State'], rows)}${pager}</section>`
}

function formatIssuer(
  { tenant, id, versions }: AuthorityState,
  version: '1.0' | '2.0',
  elapsedMs: number,
): Html {
  const { state, keys, lastReadMs, error } = versions[version]
  const age = lastReadMs === undefined ? 'never' : `${span(elapsedMs - lastReadMs)} ago`
  const isGood = keys > 0 || state === 'absent'
  return html`<tr><td><bdi>${tenant}</bdi> <span class="soft">${id}</span></td><td>v${version}</td><td>${keys}</td><td>${age}</td><td class="${isGood ? 'good' : 'bad'}">${state}${error && html`: <bdi>${error}</bdi>`}</td></tr>`
}

function formatRefusals({ refusals, nowMs }: Overview): Html {
  const rows = refusals.flatMap(({ reason, count, last }) =>
    last.map((refusal, index) =>
      formatRefusal(reason, index === 0 ? count : undefined, refusal, nowMs),
    ),
  )
  return html`<section id="refusals" aria-labelledby="refusals-title"><h2 id="refusals-title">Last refusals</h2>
${
  rows.length === 0
    ? html`<p>None since the start.</p>`
    : table(
        'Last refusals by reason, the newest first',
        [
          'Reason',
          'Logged',
          'When',
          'Request id',
          'Policy',
          'Asked for',
          'User',
          'Wanted, and had',
        ],
        rows,
      )
}</section>`
}

function formatRefusal(
  reason: string,
  count: number | undefined,
  { atMs, requestId, policy, target, user, missing }: RecentRefusal,
  nowMs: number,
): Html {
  const place = missing?.grant ?? missing?.denyRule
  return html`<tr><td>${reason}</td><td>${count}</td><td>${formatTime(atMs, nowMs)}</td><td class="id">${requestId}</td><td><bdi>${policy}</bdi></td><td><bdi>${target}</bdi></td><td class="id">${user}</td><td>${missing && html`<bdi>${missing.wanted}${missing.had && `; had ${missing.had}`}${place && ` (${place})`}</bdi>`}</td></tr>`
}

function formatRevocations({ revocations, nowMs }: Overview, view: View): Html {
  const found =
    view.find === ''
      ? revocations
      : revocations.filter(({ kind, id, reason = '' }) =>
          `${kind} ${id} ${reason}`.toLowerCase().includes(view.find.toLowerCase()),
        )
  const newestFirst = found.toSorted((a, b) => (b.madeAt ?? b.before) - (a.madeAt ?? a.before))
  const { shown, pager } = page(newestFirst, 'revocations', view)
  const rows = shown.map((revocation) => formatRevocation(revocation, nowMs))
  return html`<section id="revocations" aria-labelledby="revocations-title"><h2 id="revocations-title">Revocations (${revocations.length})</h2>
<form class="row" method="get" action="/" data-part="revocations"><div><label for="find">Kind, id or reason</label>
<input id="find" name="find" value="${view.find}" maxlength="200" autocomplete="off"></div><button>Find</button></form>
${rows.length === 0 ? html`<p>${view.find === '' ? 'Nothing is revoked.' : 'Nothing was found.'}</p>` : table('Revocations, the newest first', ['Kind', 'Id', 'Counts for tokens from before', 'Ends', 'Reason'], rows)}${pager}</section>`
}

function formatRevocation(
  { kind, id, before, until, reason }: StoredRevocation,
  nowMs: number,
): Html {
  return html`<tr><td>${kind}</td><td class="id">${id}</td><td>${formatTime(before * 1000, nowMs)}</td><td>${formatTime(until * 1000, nowMs)}</td><td><bdi>${reason}</bdi></td></tr>`
}

function formatTokenForm({ policies }: Overview): Html {
  return html`<section id="explain" aria-labelledby="explain-title"><h2 id="explain-title">Explain a token</h2>
<form id="token-form" autocomplete="off">
<label for="token">Access token</label>
<textarea id="token" autocomplete="off" spellcheck="false" autocapitalize="off" aria-describedby="token-note"></textarea>
<p id="token-note" class="soft">The token goes to this server and nowhere else. Nothing keeps it.</p>
<div class="row"><div><label for="policy">Policy</label><select id="policy">${policies.map(({ name }) => html`<option>${name}</option>`)}</select></div><button>Explain</button></div>
</form>
<noscript><p>This part needs scripts. Without them: haproxy-entra-auth explain.</p></noscript>
<div role="status" aria-live="polite"><div id="explanation"></div></div></section>`
}

const marks = { passed: 'passed', failed: 'FAILED', not_reached: 'not reached' } as const

function formatCheck({ state, title, expected, said, rules = [] }: Check): Html {
  return html`<div class="check"><h3><span class="${state === 'failed' ? 'bad' : state === 'passed' ? 'good' : 'soft'}">${marks[state]}</span> ${title}</h3>
${said.length > 0 && html`<p>token: <bdi>${said.map(formatSaid).join(', ')}</bdi></p>`}
${expected.length > 0 && html`<p class="soft">expected: <bdi>${shorten(expected)}</bdi></p>`}
${rules.map(formatRule)}</div>`
}

function formatRule({ path, holds, conditions }: RuleReport): Html {
  return html`<p><bdi>${path}</bdi> ${holds ? 'holds' : 'does not hold'}</p>
<ul>${conditions.map((one) => html`<li><span class="${one.holds ? 'good' : 'bad'}">${one.holds ? 'yes' : 'NO'}</span> ${one.name}: wants <bdi>${one.expected}</bdi>; <bdi>${one.said.map(formatSaid).join(', ')}</bdi></li>`)}</ul>`
}

function formatSaid(said: Said): string {
  const note = said.note === undefined ? '' : ` (${said.note})`
  const text = JSON.stringify(said.value) ?? ''
  const value = text.length > 600 ? `${text.slice(0, 600)}…` : text
  return `${said.claim} ${Object.hasOwn(said, 'value') ? `= ${value}` : 'is absent'}${note}`
}

/** One page of a list, with links to the others. */
function page<Item>(items: readonly Item[], name: keyof typeof perPage, view: View) {
  const size = perPage[name]
  const pages = Math.max(1, Math.ceil(items.length / size))
  const current = Math.min(view[name], pages)
  const link = (to: number, label: string) => {
    const query = new URLSearchParams({ [name]: String(to) })
    if (name === 'revocations' && view.find !== '') query.set('find', view.find)
    return html`<a href="/?${query.toString()}#${name}" data-part="${name}">${label}</a>`
  }
  const pager =
    pages > 1 &&
    html`<p class="pages">${current > 1 && link(current - 1, `Previous ${name}`)}<span>page ${current} of ${pages}</span>${current < pages && link(current + 1, `Next ${name}`)}</p>`
  return { shown: items.slice((current - 1) * size, current * size), pager }
}

/** A table that scrolls by itself on a narrow screen, by keyboard as well. */
function table(caption: string, heads: readonly string[], rows: readonly Html[]): Html {
  return html`<div class="table" role="group" aria-label="${caption}" tabindex="0"><table><caption>${caption}</caption>
<thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
<tbody>${rows}</tbody></table></div>`
}

function shorten(items: readonly string[]): string {
  const shown = items.slice(0, 10).join(', ')
  return items.length > 10 ? `${shown} and ${items.length - 10} more` : shown
}

/** A time as people read it: the hour in UTC, and how far it is from now. */
function formatTime(ms: number, nowMs: number): Html {
  const date = new Date(ms)
  if (Number.isNaN(date.getTime())) return html`never`
  const text = date.toISOString()
  const distance =
    Math.abs(ms - nowMs) < 1_000
      ? 'now'
      : ms < nowMs
        ? `${span(nowMs - ms)} ago`
        : `in ${span(ms - nowMs)}`
  return html`<time datetime="${text}">${text.slice(0, 16).replace('T', ' ')} UTC</time> <span class="soft">(${distance})</span>`
}

function span(ms: number): string {
  const seconds = ms / 1000
  if (seconds < 90) return `${Math.round(seconds)} s`
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86400)} days`
}
