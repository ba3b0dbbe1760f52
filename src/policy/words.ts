import type { DenyConfig, GrantConfig } from '../config/config.ts'

/** A rule of the configuration or a compiled one: the lists may have become sets. */
type Worded<Rule> = {
  readonly [Key in keyof Rule]?: Rule[Key] extends infer Value
    ? Value extends readonly string[]
      ? Iterable<string> | Extract<Value, string>
      : Value
    : never
}

/** The conditions of a grant, as the configuration or the compiler has them. */
export type WordedGrant = Worded<GrantConfig> & Pick<GrantConfig, 'actor'>

/** The conditions of a deny rule. */
export type WordedDenyRule = Worded<DenyConfig>

const subjects = { user: 'users', app: 'apps', agent: 'agents' } as const

/** A grant as half a sentence: `users with the scope Orders.Read`. */
export function wordGrant(grant: WordedGrant): string {
  const subject = grant.session ? 'people who signed in with a browser' : subjects[grant.actor]
  return [
    subject,
    ...wordList('through the client', grant.clients),
    ...(grant.confidential ? ['whose client has a secret or certificate'] : []),
    ...wordList('with the scope', grant.scopes),
    ...wordList('with the role', grant.roles),
    ...wordList('in the group', grant.groups),
    ...(grant.guests === false ? ['no guests'] : []),
    ...(grant.authContext ? [`with the authentication context ${grant.authContext}`] : []),
  ]
    .join(', ')
    .replace(/^([^,]*), (?!no guests)/, '$1 ')
}

/** A deny rule as half a sentence: `guests in the group 4444…`. */
export function wordDenyRule(rule: WordedDenyRule): string {
  return [
    rule.actor ? subjects[rule.actor] : 'everybody',
    ...wordList('with the object id', rule.users),
    ...wordList('through the client', rule.clients),
    ...wordList('with the scope', rule.scopes),
    ...wordList('with the role', rule.roles),
    ...wordList('in the group', rule.groups),
    ...(rule.guests ? ['guests, or without the claim acct'] : []),
  ]
    .join(', ')
    .replace(/^([^,]*), (?!guests)/, '$1 ')
}

/** One condition of a grant as what it wants: `the scope Orders.Read`. */
export function wordCondition(grant: WordedGrant, name: keyof GrantConfig): string {
  switch (name) {
    case 'actor':
      return `the actor ${grant.actor}`
    case 'session':
      return 'a session of a browser'
    case 'clients':
      return join('the client', grant.clients)
    case 'confidential':
      return 'a client with a secret or certificate'
    case 'scopes':
      return join('the scope', grant.scopes)
    case 'roles':
      return join('the role', grant.roles)
    case 'groups':
      return join('the group', grant.groups)
    case 'guests':
      return 'no guest'
    case 'authContext':
      return `the authentication context ${grant.authContext}`
  }
}

function wordList(what: string, items: Iterable<string> | undefined): readonly string[] {
  return items === undefined ? [] : [join(what, items)]
}

function join(what: string, items: Iterable<string> = []): string {
  return items === 'any' ? what.replace('the', 'any') : `${what} ${[...items].join(' or ')}`
}
