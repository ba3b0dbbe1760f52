import type { FailureCode } from '../failure.ts'
import type { RefusalPage, RefusedPerson } from '../verify/route.ts'
import { contentSecurityPolicy, createPage, type PageStyle } from './page.ts'

interface Words {
  /** What happened. */
  readonly text: string
  /** Who can help, and how. */
  readonly advice: string
}

const askAdministrator =
  'Ask the administrator of your organisation, and name the details below. A change counts when you sign in again.'

/** What a person is told of a refusal that another sign-in does not change. */
const words: Partial<Readonly<Record<FailureCode, Words>>> = {
  group_missing: {
    text: 'This page is for members of certain groups, and you are in none of them.',
    advice: `${askAdministrator} What to ask for: to be added to a group that may open this page.`,
  },
  role_missing: {
    text: 'This page needs an app role that you do not have.',
    advice: `${askAdministrator} What to ask for: the app role of this application.`,
  },
  groups_overage: {
    text: 'You are in more groups than Microsoft Entra ID tells this application.',
    advice:
      'Tell whoever runs this application: only groups that are assigned to the application should be in its tokens.',
  },
  guest_not_allowed: {
    text: 'You are a guest of this organisation, and guests are not admitted here.',
    advice: 'Ask the person who invited you, or whoever runs this application.',
  },
  denied_by_rule: {
    text: 'A rule of this application does not admit you.',
    advice: 'Ask whoever runs this application, and name the details below.',
  },
  cross_site_request: {
    text: 'A page of another site sent this. It was not passed on, and nothing was changed.',
    advice:
      'If you wanted to do this, open the application and do it there. If not, close this page.',
  },
}

const otherwise: Words = {
  text: 'Your sign-in is good, but the rules of this page do not admit you.',
  advice: 'Ask whoever runs this application, and name the details below.',
}

/** Longest page that the action in HAProxy passes on, in bytes. */
const maxBytes = 8_000

/**
 * Creates the page for a person whom a policy refuses: why, and who can help. Where the operator's own
 * logo and text would make it too long for HAProxy, it goes without them.
 */
export function createRefusalPage(
  style: PageStyle,
  authority: string,
  { failure, policy, requestId, name }: RefusedPerson,
): RefusalPage {
  const { text, advice } = words[failure] ?? otherwise
  const content = {
    title: 'You cannot open this page',
    paragraphs: [...(name === undefined ? [] : [`You are signed in as ${name}.`]), text, advice],
    details: [
      ['Reason', failure],
      ['Policy', policy],
      ['Request', requestId],
    ] as const,
    action: { label: 'Sign out', href: '/oauth2/sign_out', isPost: true },
  }
  const whole = createPage(style, content)
  const fits = Buffer.byteLength(whole) <= maxBytes
  const html = fits ? whole : createPage({ text: undefined, logo: undefined }, content)
  return { html, contentSecurityPolicy: contentSecurityPolicy(authority) }
}
