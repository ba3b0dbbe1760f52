/** The pages that people see, word for word: a text that is lost or mixed up helps nobody. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import type { FastifyReply } from 'fastify'
import type { FailureCode } from '../../src/failure.ts'
import { sendPage, sendProblem, tryAgain } from '../../src/sign-in/answer.ts'
import { signInOutcomes } from '../../src/sign-in/context.ts'
import {
  contentSecurityPolicy,
  createPage,
  createProblemPage,
  createSignedOutPage,
  createSignOutPage,
} from '../../src/sign-in/page.ts'
import {
  isHarmless,
  isOutage,
  type ProblemCode,
  problemOf,
  problems,
  readDetails,
} from '../../src/sign-in/problems.ts'
import { createRefusalPage } from '../../src/sign-in/refusal-page.ts'

const plain = { text: undefined, logo: undefined }
const authority = 'https://login.microsoftonline.com'

/** What each page says: status, title, what happened, what to do. */
const expected: Readonly<
  Record<ProblemCode, readonly [status: number, title: string, text: string, advice: string]>
> = {
  access_denied: [
    403,
    'You cannot sign in to this application',
    'Microsoft Entra ID did not let you in: you may not be assigned to this application, a rule of your organisation may block this sign-in, or it was cancelled.',
    'Ask the administrator of your organisation to assign you, and name the details below. If you cancelled, try again.',
  ],
  consent_required: [
    403,
    'This application needs an approval first',
    'Nobody has allowed this application to sign people in yet.',
    'Ask the administrator of your organisation to grant consent to it.',
  ],
  step_up_required: [
    403,
    'A stronger sign-in is needed',
    'This page asks for a stronger sign-in, and Microsoft Entra ID did not confirm one.',
    'Try again. If it does not help, ask the administrator of your organisation.',
  ],
  invalid_client: [
    503,
    'Sign-in is out of order',
    'Microsoft Entra ID no longer accepts the credential of this application. It may have expired.',
    'Tell whoever runs this application. Sessions that are open go on.',
  ],
  invalid_grant: [
    400,
    'This sign-in was used before',
    'A sign-in can be completed once and within a few minutes. This one was completed before, or took too long.',
    'Sign in again.',
  ],
  entra_unavailable: [
    503,
    'Microsoft Entra ID cannot be reached',
    'This application could not reach Microsoft Entra ID, or got an error from it.',
    'Wait a minute and try again. If it lasts, tell whoever runs this application.',
  ],
  overloaded: [
    503,
    'There is too much to do right now',
    'This application is overloaded and could not sign you in.',
    'Wait a minute and try again. If it lasts, tell whoever runs this application.',
  ],
  cookies_blocked: [
    400,
    'Your browser sent no cookie back',
    'Signing in needs a cookie of this site. It is blocked, or more than an hour has passed since you began.',
    'Allow cookies for this site, then try again.',
  ],
  too_many_starts: [
    429,
    'Signing in does not come to an end',
    'This browser began to sign in several times within a minute and never arrived.',
    'Wait a minute and try again. If it happens again, tell whoever runs this application: a cookie is lost on the way, or a clock is wrong.',
  ],
  state_invalid: [
    400,
    'This sign-in does not belong here',
    'The answer that came back belongs to another browser, to another site or to no sign-in at all.',
    'Go to the page that you wanted, and sign in again.',
  ],
  id_token_refused: [
    502,
    'The answer of Microsoft Entra ID was refused',
    'What Microsoft Entra ID sent did not pass the checks of this application.',
    'Try again. If it happens again, tell whoever runs this application.',
  ],
  session_too_large: [
    403,
    'There is too much to remember about you',
    'Your roles in this application do not fit into a session.',
    'Ask the administrator of your organisation to assign you fewer app roles.',
  ],
  host_unknown: [
    421,
    'Nobody can sign in at this address',
    'Sign-in is not set up for the host name in the address bar.',
    'Check the address, or tell whoever runs this application.',
  ],
  not_found: [
    404,
    'There is no such page',
    'Nothing is answered at this address.',
    'Go back to the application.',
  ],
  method_not_allowed: [
    405,
    'This is not how this page is used',
    'The page was called in a way that it does not answer.',
    'Go back to the application.',
  ],
  malformed_request: [
    400,
    'The request could not be read',
    'Something in the request is too long or malformed.',
    'Go back to the application and try again.',
  ],
  sign_in_failed: [
    502,
    'Signing in did not work',
    'Microsoft Entra ID answered with an error.',
    'Ask the administrator of your organisation, and name the details below.',
  ],
  internal_error: [
    500,
    'Something went wrong here',
    'This application failed on your request.',
    'Try again. If it happens again, tell whoever runs this application.',
  ],
}

/** The page of these lines, each line of `body` as it stands. */
const pageOf = (title: string, body: readonly string[]) =>
  [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="robots" content="noindex">',
    `<title>${title}</title>`,
    '<style>STYLE</style>',
    '</head>',
    '<body>',
    '<main>',
    ...body,
    '</main>',
    '</body>',
    '</html>',
  ].join('\n')

/** A page with its style named, not shown. */
const withoutStyle = (html: string) => html.replace(/(?<=<style>)[^<]+(?=<\/style>)/, 'STYLE')

const button =
  '<form method="post" action="/oauth2/sign_out"><button class="action" type="submit">Sign out</button></form>'

describe('the page of each problem', () => {
  it('is one of those below, with its status', () => {
    assert.deepEqual(
      Object.fromEntries(Object.entries(problems).map(([code, { status }]) => [code, status])),
      Object.fromEntries(Object.entries(expected).map(([code, [status]]) => [code, status])),
    )
  })

  for (const [code, [, title, text, advice]] of Object.entries(expected)) {
    it(`says what happened and what to do: ${code}`, () => {
      assert.equal(
        withoutStyle(createProblemPage(code as ProblemCode, { style: plain })),
        pageOf(title, [
          `<h1>${title}</h1>`,
          `<p dir="auto">${text}</p>`,
          `<p dir="auto">${advice}</p>`,
          `<dl><dt>Reason</dt><dd><bdi>${code}</bdi></dd></dl>`,
        ]),
      )
    })
  }

  it('names number and correlation id, has a link, and logo and text of the operator', () => {
    const page = createProblemPage('not_found', {
      details: { number: 'AADSTS50105', correlationId: '8a1a9ac5-5b2f-4a54-8d5b-3ab5ae4e3b1f' },
      action: tryAgain('/a?b=1&c'),
      style: { text: 'Call 12 & ask', logo: 'data:image/png;base64,AA' },
    })
    assert.equal(
      withoutStyle(page),
      pageOf('There is no such page', [
        '<img src="data:image/png;base64,AA" alt="">',
        '<h1>There is no such page</h1>',
        '<p dir="auto">Nothing is answered at this address.</p>',
        '<p dir="auto">Go back to the application.</p>',
        '<dl><dt>Reason</dt><dd><bdi>not_found</bdi></dd><dt>Number</dt><dd><bdi>AADSTS50105</bdi></dd><dt>Correlation ID</dt><dd><bdi>8a1a9ac5-5b2f-4a54-8d5b-3ab5ae4e3b1f</bdi></dd></dl>',
        '<p><a class="action" href="/oauth2/start?rd=%2Fa%3Fb%3D1%26c">Sign in again</a></p>',
        '<footer>Call 12 &amp; ask</footer>',
      ]),
    )
  })

  it('shows each character of a text as text', () => {
    const text = `<b>"it's"</b> & \u202Eturned\u2069 a\u0000b\u2028c\u2029d\u0085e`
    assert.match(
      createPage(plain, { title: text, paragraphs: [] }),
      /<h1>&lt;b&gt;&quot;it&#39;s&quot;&lt;\/b&gt; &amp; turned a b c d e<\/h1>/,
    )
  })
})

describe('the pages of a sign-out', () => {
  it('ask, with the name where it is known', () => {
    assert.equal(
      withoutStyle(createSignOutPage(plain, 'Adele Vance')),
      pageOf('Sign out?', [
        '<h1>Sign out?</h1>',
        '<p dir="auto">You are signed in as Adele Vance. Do you want to sign out?</p>',
        button,
      ]),
    )
    assert.equal(
      withoutStyle(createSignOutPage(plain, undefined)),
      pageOf('Sign out?', [
        '<h1>Sign out?</h1>',
        '<p dir="auto">Do you want to sign out of this application?</p>',
        button,
      ]),
    )
  })

  it('end with a way back', () => {
    assert.equal(
      withoutStyle(createSignedOutPage(plain)),
      pageOf('You are signed out', [
        '<h1>You are signed out</h1>',
        '<p dir="auto">Your session here has ended. Close the browser on a computer that others use.</p>',
        '<p><a class="action" href="/">Sign in again</a></p>',
      ]),
    )
  })
})

describe('the style of the pages', () => {
  it('is the only one that the browser may use, and is for light and dark', () => {
    const [, style = ''] = /<style>([^<]*)<\/style>/.exec(createSignedOutPage(plain)) ?? []
    const hash = createHash('sha256').update(style).digest('base64')
    assert.equal(
      contentSecurityPolicy(authority),
      `default-src 'none'; style-src 'sha256-${hash}'; img-src data:; form-action 'self' ${authority}; base-uri 'none'; frame-ancestors 'none'`,
    )
    assert.match(style, /color-scheme:light dark/)
    assert.match(style, /@media \(prefers-color-scheme:dark\)/)
    assert.match(style, /focus-visible/)
  })
})

const ask =
  'Ask the administrator of your organisation, and name the details below. A change counts when you sign in again.'

/** What a person is told whom a policy refuses. */
const refusals: readonly (readonly [FailureCode, text: string, advice: string])[] = [
  [
    'group_missing',
    'This page is for members of certain groups, and you are in none of them.',
    `${ask} What to ask for: to be added to a group that may open this page.`,
  ],
  [
    'role_missing',
    'This page needs an app role that you do not have.',
    `${ask} What to ask for: the app role of this application.`,
  ],
  [
    'groups_overage',
    'You are in more groups than Microsoft Entra ID tells this application.',
    'Tell whoever runs this application: only groups that are assigned to the application should be in its tokens.',
  ],
  [
    'guest_not_allowed',
    'You are a guest of this organisation, and guests are not admitted here.',
    'Ask the person who invited you, or whoever runs this application.',
  ],
  [
    'denied_by_rule',
    'A rule of this application does not admit you.',
    'Ask whoever runs this application, and name the details below.',
  ],
  [
    'cross_site_request',
    'A page of another site sent this. It was not passed on, and nothing was changed.',
    'If you wanted to do this, open the application and do it there. If not, close this page.',
  ],
  [
    'client_not_allowed',
    'Your sign-in is good, but the rules of this page do not admit you.',
    'Ask whoever runs this application, and name the details below.',
  ],
]

describe('the page of a refusal', () => {
  for (const [failure, text, advice] of refusals) {
    it(`says why and who can help: ${failure}`, () => {
      const person = { failure, policy: 'portal', requestId: '7F', name: 'Adele' }
      const page = createRefusalPage(plain, authority, person)
      assert.equal(page.contentSecurityPolicy, contentSecurityPolicy(authority))
      const body = (...names: string[]) =>
        pageOf('You cannot open this page', [
          '<h1>You cannot open this page</h1>',
          ...names,
          `<p dir="auto">${text}</p>`,
          `<p dir="auto">${advice}</p>`,
          `<dl><dt>Reason</dt><dd><bdi>${failure}</bdi></dd><dt>Policy</dt><dd><bdi>portal</bdi></dd><dt>Request</dt><dd><bdi>7F</bdi></dd></dl>`,
          button,
        ])
      const named = body('<p dir="auto">You are signed in as Adele.</p>')
      assert.equal(withoutStyle(page.html), named)
      const nameless = createRefusalPage(plain, authority, { ...person, name: undefined })
      assert.equal(withoutStyle(nameless.html), body())
    })
  }

  it('has logo and text of the operator up to 8,000 bytes, which HAProxy passes on', () => {
    const person = { failure: 'role_missing', policy: 'p', requestId: '7F', name: 'Ü' } as const
    const bytesOf = (text: string) =>
      Buffer.byteLength(createRefusalPage({ ...plain, text }, authority, person).html)
    const own = 8_000 - bytesOf('x') + 1
    const longest = createRefusalPage({ ...plain, text: 'x'.repeat(own) }, authority, person).html
    assert.equal(Buffer.byteLength(longest), 8_000)
    assert.match(longest, /<footer>x+<\/footer>/)
    const longer = { logo: 'data:image/png;base64,AA', text: 'x'.repeat(own + 1) }
    const page = createRefusalPage(longer, authority, person).html
    assert.doesNotMatch(page, /<footer>|<img/)
    assert.match(page, /You are signed in as Ü\./)
  })
})

/** Answers into a list. */
function record() {
  const seen: unknown[] = []
  const note = (line: unknown) => {
    seen.push(line)
    return reply
  }
  const reply = {
    code: note,
    type: note,
    header: (name: string, value: string) => note(`${name}: ${value}`),
    send: note,
  }
  return { seen, reply: reply as unknown as FastifyReply }
}

describe('the answer with a page', () => {
  it('is HTML, and good where nothing else is said', () => {
    const { seen, reply } = record()
    sendPage(reply, '<p>')
    assert.deepEqual(seen, [200, 'text/html; charset=utf-8', '<p>'])
  })

  it('has the reason, what else the status asks for, and is counted', () => {
    const headersOf = (code: ProblemCode) => {
      const counted: string[] = []
      const { seen, reply } = record()
      sendProblem({ style: plain, onOutcome: (outcome) => void counted.push(outcome) }, reply, code)
      assert.deepEqual(counted, [code])
      assert.equal(seen.pop(), createProblemPage(code, { style: plain }))
      return seen
    }
    const html = 'text/html; charset=utf-8'
    assert.deepEqual(headersOf('not_found'), ['X-Entra-Auth-Reason: not_found', 404, html])
    assert.deepEqual(headersOf('method_not_allowed'), [
      'X-Entra-Auth-Reason: method_not_allowed',
      405,
      html,
    ])
    assert.deepEqual(headersOf('overloaded'), [
      'Retry-After: 60',
      'X-Entra-Auth-Reason: overloaded',
      503,
      html,
    ])
  })
})

describe('the ends of a sign-in that the metric counts', () => {
  it('are four good ones and each page', () => {
    assert.deepEqual(signInOutcomes, [
      'signed_in',
      'rechecked',
      'postponed',
      'signed_out',
      ...Object.keys(expected),
    ])
  })
})

describe('an error of Entra', () => {
  it('is the page of its OAuth error', () => {
    const codes: Readonly<Record<string, ProblemCode>> = {
      access_denied: 'access_denied',
      login_required: 'access_denied',
      interaction_required: 'access_denied',
      account_selection_required: 'access_denied',
      consent_required: 'consent_required',
      invalid_client: 'invalid_client',
      unauthorized_client: 'invalid_client',
      credential: 'invalid_client',
      invalid_grant: 'invalid_grant',
      id_token_refused: 'id_token_refused',
      overloaded: 'overloaded',
      entra_unavailable: 'entra_unavailable',
      server_error: 'entra_unavailable',
      temporarily_unavailable: 'entra_unavailable',
      invalid_scope: 'sign_in_failed',
      '': 'sign_in_failed',
    }
    for (const [error, code] of Object.entries(codes)) assert.equal(problemOf(error), code, error)
  })

  it('is an outage where Entra or the credential fails, and harmless where it says nothing of the person', () => {
    const codes = Object.keys(expected) as ProblemCode[]
    const outages = ['invalid_client', 'entra_unavailable']
    assert.deepEqual(codes.filter(isOutage), outages)
    assert.deepEqual(
      codes.filter(isHarmless).toSorted(),
      [...outages, 'overloaded', 'id_token_refused'].toSorted(),
    )
  })

  it('has its number in 4 to 8 digits and its id as a whole word, within 4,096 characters', () => {
    const id = '8A1A9AC5-5b2f-4a54-8d5b-3ab5ae4e3b1f'
    assert.equal(readDetails('AADSTS1234').number, 'AADSTS1234')
    assert.equal(readDetails('AADSTS12345678').number, 'AADSTS12345678')
    assert.equal(readDetails('xAADSTS12345').number, undefined)
    assert.equal(readDetails('AADSTS12345x').number, undefined)
    assert.equal(readDetails(`a Correlation ID: ${id}`).correlationId, id)
    assert.equal(readDetails(`xCorrelation ID: ${id}`).correlationId, undefined)
    assert.equal(readDetails(`Correlation ID: ${id}0`).correlationId, undefined)
    assert.equal(readDetails(`${' '.repeat(4_086)}AADSTS1234`).number, 'AADSTS1234')
    assert.equal(readDetails(`${' '.repeat(4_087)}AADSTS1234`).number, undefined)
  })
})
