/** `info` is shown and never counts as drift. */
export type Severity = 'error' | 'warning' | 'info'

/** Every finding: its severity and what it means, in the order of the documentation. */
export const findingTable = {
  'haproxy-syntax': ['error', 'a line that HAProxy cannot read'],
  'zero-warning-missing': ['warning', '`zero-warning` is not in the global section'],
  'noreuseport-missing': ['warning', '`noreuseport` is not in the global section'],
  'buffers-small': ['warning', 'large tokens or identity headers do not fit into the buffers'],
  'socket-open': ['error', 'a command socket of HAProxy is open to the network'],
  'mode-not-http': [
    'error',
    'a section with HTTP rules or behind the action is not in `mode http`',
  ],
  'action-missing': ['error', 'a request reaches servers without the action'],
  'action-conditional': ['error', 'the action has a condition, and no guard stops other requests'],
  'guard-missing': ['error', 'no deny rule after the action'],
  'guard-weak': ['error', 'the deny rule after the action lets some requests through'],
  'early-allow': ['error', '`http-request allow` ends the rules before the guard'],
  'verdict-stale': ['error', 'a second action without `unset-var(txn.entra.ok)` before it'],
  'verdict-written': ['error', 'a rule writes a variable of the action'],
  'credentials-written': ['error', 'a rule presents a token or a session that no client sent'],
  'rule-unknown': ['error', 'only the environment of HAProxy knows what a rule does'],
  'server-attached': ['error', 'clients can become servers of a section'],
  'tcp-bypass': ['error', 'a section in `mode tcp` leads to the server of a protected one'],
  'strict-mode-off': ['error', 'a header that does not fit is dropped silently'],
  'early-cache': ['error', '`http-request cache-use` before the action'],
  'cache-shared': ['error', 'answers are cached for everybody, because the token is removed first'],
  'early-answer': ['warning', 'HAProxy answers some requests before the action'],
  'observe-unused': ['error', '`lua.entra-auth-observe` without a rule on `txn.entra.ok`'],
  'strip-missing': ['error', 'identity headers of the client are not removed in every spelling'],
  'strip-after-action': ['error', 'identity headers are removed after the action has set them'],
  'identity-overwritten': ['error', 'a rule writes an identity header by itself'],
  'identity-unclear': ['warning', 'another Lua action after ours may write identity headers'],
  'connect-unprotected': ['error', 'clients can open a tunnel with CONNECT'],
  'upgrade-unprotected': ['error', 'clients can ask for a tunnel past the rules'],
  'connection-unprotected': ['error', 'clients can have identity headers dropped'],
  'violations-accepted': ['error', 'invalid HTTP requests are accepted'],
  'policy-mismatch': ['error', 'the policy is chosen by another expression than the route'],
  'method-override': [
    'warning',
    'the policy is chosen by method, and clients can send another one in a header',
  ],
  'path-bypass': ['error', 'the path decides between policies for one application'],
  'path-ambiguous': ['warning', 'the path decides between backends with different policies'],
  'verifier-missing': ['error', 'no section listens at the address that the action calls'],
  'verifier-public': ['error', "the verifier's section listens beyond loopback"],
  'verifier-routed': ['error', "clients are routed to the verifier's section"],
  'verifier-changed': ['error', 'a rule changes what the verifier is asked, or what it answers'],
  'metadata-open': ['error', 'a backend passes more than the metadata path to the verifier'],
  'verifier-unchecked': [
    'warning',
    'the section of the verifier or of sign-in has no health check',
  ],
  'verifier-slow': ['warning', 'the section of the verifier or of sign-in has no short timeouts'],
  'verifier-unbounded': ['warning', "the verifier's section has no limits on endless answers"],
  'verifier-plaintext': ['warning', 'the verifier is on another host, without verified TLS'],
  'verifier-tls-missing': ['error', 'the verifier speaks TLS, and HAProxy does not'],
  'sign-in-missing': ['error', 'requests for `/oauth2/` do not reach the sign-in listener'],
  'sign-in-forwarded': [
    'error',
    'clients can set the host or scheme that the sign-in listener reads',
  ],
  'sign-in-plaintext': ['warning', 'people sign in over plain HTTP'],
  'session-cookie-passed': ['error', 'the application gets the session cookie'],
  'policy-unknown': ['error', 'HAProxy names a policy that the configuration does not have'],
  'backend-unreached': ['warning', 'no frontend leads to a backend with the action'],
  'policy-unused': ['warning', 'no section uses the policy'],
  'scope-missing': ['error', 'the registration lacks a scope that a policy names'],
  'scope-disabled': ['error', 'a scope that a policy names is disabled'],
  'scope-unused': ['warning', 'a scope of the registration that no policy names'],
  'role-missing': ['error', 'the registration lacks a role that a policy names'],
  'role-disabled': ['error', 'a role that a policy names is disabled'],
  'role-member-type': ['error', 'the role cannot be given to the actor of the grant'],
  'role-unused': ['warning', 'a role of the registration that no policy names'],
  'value-clash': ['error', 'one name is used as a scope and as a role'],
  'audience-unknown': ['error', 'an audience that the registration does not have'],
  'audience-version': ['error', 'no audience fits the token version of the registration'],
  'resource-unknown': ['error', 'the resource is not an identifier URI of the registration'],
  'resource-audience': ['error', 'tokens for the resource have an audience that the policy lacks'],
  'idtyp-required': ['error', 'the policy has `requireIdtyp`, but tokens have no `idtyp`'],
  'idtyp-recommended': ['warning', 'apps are admitted, but tokens have no `idtyp`'],
  'acct-missing': ['error', 'the policy has a condition on guests, but tokens have no `acct`'],
  'agent-claims-missing': ['error', 'a rule names agents, but tokens do not identify them'],
  'agent-claims-recommended': ['warning', 'tokens do not distinguish agents from apps and users'],
  'groups-claim-missing': ['error', 'the policy needs groups, but tokens have none'],
  'groups-claim-format': ['error', 'tokens have names of groups, or have groups as roles'],
  'email-claim-missing': ['info', 'the header set has e-mail, but tokens have no verified address'],
  'sign-in-audience-wide': ['warning', 'more tenants can sign in than the policies admit'],
  'sign-in-audience-narrow': ['warning', 'policies admit tenants that cannot sign in'],
  'redirect-uri-missing': ['error', 'the registration lacks the redirect URI of a host'],
  'signed-out-uri-missing': ['warning', 'a sign-out does not come back to the host'],
  'logout-url-missing': ['warning', 'Entra does not tell of a sign-out elsewhere'],
  'id-token-claims-missing': ['warning', 'ID tokens lack a claim that sign-in uses'],
  'credential-missing': ['error', 'the registration has no valid certificate or secret'],
  'credential-expiring': ['warning', 'the last certificate or secret ends within 30 days'],
  'registration-partial': ['error', 'the file lacks a part of the registration'],
} as const satisfies Record<string, readonly [Severity, string]>

export type FindingCode = keyof typeof findingTable

/** Where something was found: a line of HAProxy, a policy, or a registration. */
export type Place =
  | { readonly file: string; readonly line: number; readonly section?: string }
  | { readonly policy: string }
  | { readonly app: string }

export interface Finding {
  readonly code: FindingCode
  readonly severity: Severity
  readonly place: Place
  /** What is wrong, one sentence. */
  readonly message: string
  /** What to do, one sentence. */
  readonly hint: string
}

/** Makes a finding with the severity of its code. */
export function finding(code: FindingCode, place: Place, message: string, hint: string): Finding {
  return { code, severity: findingTable[code][0], place, message, hint }
}

/** The codes, in the order of the table. */
export const findingCodes = Object.keys(findingTable) as FindingCode[]
