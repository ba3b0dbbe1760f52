import { Type } from 'typebox'
import { usualLife } from '../cache-life.ts'
import { defaults, logFormats } from './defaults.ts'

// The descriptions appear in three places: the reference page, editors, and error reports, which
// end with the description of the wrong key.

/** A GUID in either letter case. */
export const GUID_PATTERN =
  '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$'

/** Names of policies and tenants; a policy's name travels as one URL segment. */
const NAME_PATTERN = '^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$'

/** Claims that a custom identity header may carry. */
export const HEADER_CLAIMS = [
  'oid',
  'tid',
  'azp',
  'actor',
  'preferred_username',
  'name',
  'email',
  'roles',
  'groups',
  'scp',
  'uti',
  'sub',
] as const

/** What `audiences` are; needed where a grant takes tokens. */
export const AUDIENCES_DESCRIPTION =
  'List what the aud claim of your tokens holds: the client id and identifier URIs of your API.'

/** Header sets with a name; each must be described in identity/headers.ts. */
export const HEADER_SETS = ['x-auth-request', 'remote-user', 'app-service'] as const

const strict = { additionalProperties: false }

const guid = (description: string) => Type.String({ pattern: GUID_PATTERN, description })

const guids = (what: string) =>
  Type.Array(guid(`Write the ${what} as a GUID.`), {
    minItems: 1,
    description: `List ${what}s (GUIDs); one of them is enough.`,
  })

const words = (what: string, example: string) =>
  Type.Array(
    Type.String({
      pattern: '^[!#-[\\]-~]{1,256}$',
      description: `Write one ${what} as it stands in a token, such as ${example}, without spaces.`,
    }),
    { minItems: 1, description: `List ${what}s such as [${example}]; one of them is enough.` },
  )

const wordsOrAny = (what: string, example: string) =>
  Type.Union([words(what, example), Type.Literal('any')], {
    description: `List ${what}s such as [${example}], or write the word any.`,
  })

const host = () =>
  Type.Optional(
    Type.String({
      pattern: '^[A-Za-z0-9._:%-]{1,253}$',
      default: defaults.host,
      description: 'Write an IP address (IPv6 without brackets) or a host name to listen on.',
    }),
  )

const port = (fallback: number) =>
  Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 65535,
      default: fallback,
      description: 'Write a port from 0 to 65535; 0 takes any free one.',
    }),
  )

const keyFile = (what: string) =>
  Type.Optional(
    Type.String({
      minLength: 1,
      description: `Write the path of a file that holds ${what} (16 to 512 printable ASCII characters).`,
    }),
  )

const tls = Type.Object(
  {
    certificateFile: Type.String({
      minLength: 1,
      description:
        'Write the path of a PEM file with the certificate chain of the verify listener.',
    }),
    keyFile: Type.String({
      minLength: 1,
      description: 'Write the path of a PEM file with the private key of the certificate.',
    }),
  },
  { ...strict, description: 'Write certificateFile and keyFile, or remove the key.' },
)

const actor = Type.Enum(['user', 'app', 'agent'], {
  description: 'Write user, app or agent: who the token speaks for.',
})

const authority = Type.String({
  minLength: 1,
  description:
    'Write the base URL of the authority without a tenant, such as https://customers.ciamlogin.com.',
})

const tenant = Type.Union(
  [
    guid('Write the tenant id (a GUID).'),
    Type.Object(
      {
        id: guid('Write the tenant id (a GUID).'),
        authority: Type.Optional(authority),
        appId: Type.Optional(
          guid('Write the client id (a GUID) of an API that has its own signing keys.'),
        ),
      },
      strict,
    ),
  ],
  { description: 'Write the tenant id (a GUID), or a mapping with id, authority and appId.' },
)

/**
 * A grant. Each key becomes a condition by itself: `config/config.ts` takes its type from here, the
 * loader copies every key, and the compiler demands an evaluation (policy/evaluate.ts) and a
 * description (explain/rule-reports.ts) for each.
 */
export const grantSchema = Type.Object(
  {
    actor,
    session: Type.Optional(
      Type.Literal(true, {
        description: 'Write true to take sessions (signed in with a browser) in place of tokens.',
      }),
    ),
    scopes: Type.Optional(wordsOrAny('scope', 'Orders.Read')),
    roles: Type.Optional(wordsOrAny('role', 'Orders.Process')),
    groups: Type.Optional(guids('group object id')),
    clients: Type.Optional(guids('client id')),
    guests: Type.Optional(Type.Boolean({ description: 'Write false to refuse guests.' })),
    confidential: Type.Optional(
      Type.Boolean({
        description:
          'Write true to demand a client that proved itself with a secret or certificate.',
      }),
    ),
    authContext: Type.Optional(
      Type.String({
        pattern: '^c[1-9][0-9]?$',
        description: 'Write an authentication context from c1 to c99.',
      }),
    ),
  },
  { ...strict, description: 'Write a grant, such as { actor: user, scopes: [Orders.Read] }.' },
)

/** A deny rule; as with grants, each key becomes a condition by itself. */
export const denyRuleSchema = Type.Object(
  {
    actor: Type.Optional(actor),
    scopes: Type.Optional(words('scope', 'Orders.Read')),
    roles: Type.Optional(words('role', 'Orders.Process')),
    groups: Type.Optional(guids('group object id')),
    clients: Type.Optional(guids('client id')),
    users: Type.Optional(guids('user object id')),
    guests: Type.Optional(
      Type.Literal(true, { description: 'Write true (deny guests), or remove the key.' }),
    ),
  },
  {
    ...strict,
    minProperties: 1,
    description: 'Write at least one condition, such as { users: [GUID] }.',
  },
)

const policy = Type.Object(
  {
    tenants: Type.Optional(
      Type.Array(Type.String({ description: 'Write the name of a tenant from tenants.' }), {
        minItems: 1,
        description: 'List names from tenants, or remove the key to admit all of them.',
      }),
    ),
    audiences: Type.Optional(
      Type.Array(
        Type.String({
          pattern: '^[!#-[\\]-~]{1,512}$',
          description:
            'Write the client id or an identifier URI of your API, such as api://orders, without spaces.',
        }),
        { minItems: 1, description: AUDIENCES_DESCRIPTION },
      ),
    ),
    resource: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'Write the absolute https URL of the protected resource (RFC 9728).',
      }),
    ),
    cacheSeconds: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 3600,
        description: `Write how many seconds a verdict may be kept, from 0 to 3600. If left out, HAProxy keeps it for ${usualLife.action} and other caches for ${usualLife.others}.`,
      }),
    ),
    maxTokenLifetimeMinutes: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10080,
        default: defaults.maxTokenLifetimeMinutes,
        description: 'Write for how many minutes a token may have been issued, from 1 to 10080.',
      }),
    ),
    groups: Type.Optional(
      Type.Enum(['named', 'all'], {
        default: 'named',
        description: 'Write named or all: which groups reach the application.',
      }),
    ),
    requireIdtyp: Type.Optional(
      Type.Boolean({
        default: false,
        description: 'Write true where only the claim idtyp may make a token an app token.',
      }),
    ),
    reportOnlyUntil: Type.Optional(
      Type.String({
        pattern:
          '^\\d{4}-\\d{2}-\\d{2}([Tt ]\\d{2}:\\d{2}(:\\d{2}(\\.\\d{1,9})?)?([Zz]|[+-]\\d{2}:\\d{2}))?$',
        description:
          'Write a date such as 2026-12-31 (its first instant in UTC), or a time such as 2026-12-31T18:00:00Z.',
      }),
    ),
    crossSiteGuard: Type.Optional(
      Type.Boolean({
        default: true,
        description:
          'Write false to let pages of other sites send requests with a session; then the application must refuse forged ones.',
      }),
    ),
    allow: Type.Array(grantSchema, {
      minItems: 1,
      description:
        'List at least one grant, such as { actor: user, scopes: [Orders.Read] }; without one nobody gets in.',
    }),
    deny: Type.Optional(
      Type.Array(denyRuleSchema, {
        minItems: 1,
        description: 'List deny rules, such as { users: [GUID] }, or remove the key.',
      }),
    ),
  },
  { ...strict, description: 'Write a mapping with at least audiences and allow.' },
)

const path = (what: string) =>
  Type.Optional(Type.String({ minLength: 1, description: `Write the path of ${what}.` }))

const credential = Type.Object(
  {
    federatedTokenFile: path('a file with a token of workload identity federation'),
    managedIdentity: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'Write system, or the client id (a GUID) of a user-assigned managed identity.',
      }),
    ),
    certificateFile: path('a PEM file with the certificate of the registration'),
    keyFile: path('a PEM file with the private key of the certificate'),
    keyVaultKey: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'Write the key identifier, such as https://contoso.vault.azure.net/keys/sign-in.',
      }),
    ),
    clientSecretFile: path('a file with the client secret; any other credential is better'),
  },
  {
    ...strict,
    description:
      'Write one of federatedTokenFile, managedIdentity, certificateFile with keyFile, keyVaultKey, clientSecretFile.',
  },
)

const signIn = Type.Object(
  {
    clientId: guid('Write the client id (a GUID) of the web application that people sign in to.'),
    tenant: Type.Optional(
      Type.String({ description: 'Write the name from tenants whose people sign in.' }),
    ),
    credential: Type.Optional(credential),
    hosts: Type.Array(
      Type.String({
        minLength: 1,
        maxLength: 253,
        description: 'Write a host name as people type it, such as portal.contoso.com.',
      }),
      {
        minItems: 1,
        maxItems: 1000,
        description:
          'List the host names that people sign in at; the redirect URI of each is https://HOST/oauth2/callback.',
      },
    ),
    listen: Type.Optional(
      Type.Object(
        { host: host(), port: port(defaults.signInPort) },
        { ...strict, description: 'Write host and port of the sign-in listener.' },
      ),
    ),
    sealingKeys: Type.Optional(
      Type.String({
        minLength: 1,
        default: defaults.sealingKeys,
        description:
          'Write the path of a folder with the keys that seal sessions, the same for all replicas.',
      }),
    ),
    recheckMinutes: Type.Optional(
      Type.Number({
        minimum: 0.01,
        maximum: 10080,
        default: defaults.recheckMinutes,
        description: 'Write after how many minutes the next navigation asks Entra again.',
      }),
    ),
    sessionHours: Type.Optional(
      Type.Number({
        minimum: 0.001,
        maximum: 168,
        default: defaults.sessionHours,
        description: 'Write after how many hours people have to sign in again, up to 168.',
      }),
    ),
    page: Type.Optional(
      Type.Object(
        {
          text: Type.Optional(
            Type.String({
              minLength: 1,
              maxLength: 500,
              description: 'Write one line for the pages, such as whom to call.',
            }),
          ),
          logoFile: path('an image (SVG or PNG, at most 32 KiB) for the pages'),
        },
        { ...strict, description: 'Write text and logoFile, or remove the key.' },
      ),
    ),
  },
  { ...strict, description: 'Write at least clientId, hosts and a credential.' },
)

/** JSON Schema of the configuration file; what a schema cannot say is checked after it. */
export const configFileSchema = Type.Object(
  {
    listen: Type.Optional(
      Type.Object(
        { host: host(), port: port(defaults.listenPort), tls: Type.Optional(tls) },
        { ...strict, description: 'Write host, port and tls of the verify listener.' },
      ),
    ),
    metrics: Type.Optional(
      Type.Object(
        { host: host(), port: port(defaults.metricsPort) },
        { ...strict, description: 'Write host and port of the metrics listener.' },
      ),
    ),
    admin: Type.Optional(
      Type.Object(
        {
          host: host(),
          port: port(defaults.adminPort),
          adminKeyFile: keyFile('the key of the admin listener'),
        },
        { ...strict, description: 'Write host, port and adminKeyFile of the admin listener.' },
      ),
    ),
    callerKeyFile: keyFile('the key that HAProxy sends in X-Entra-Auth-Key'),
    keyStore: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'Write the path of a directory for the last good keys.',
      }),
    ),
    revocationFile: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'Write the path of the file that holds the revocations.',
      }),
    ),
    store: Type.Optional(
      Type.Object(
        {
          url: Type.String({
            minLength: 1,
            description: 'Write rediss://HOST:PORT of a Redis or Valkey server.',
          }),
          usernameFile: keyFile('the user name for the store'),
          passwordFile: keyFile('the password for the store'),
          caFile: Type.Optional(
            Type.String({
              minLength: 1,
              description: 'Write the path of the certificate authorities that signed the store.',
            }),
          ),
        },
        { ...strict, description: 'Write url, usernameFile, passwordFile and caFile.' },
      ),
    ),
    overload: Type.Optional(
      Type.Object(
        {
          maxEventLoopLagMs: Type.Optional(
            Type.Integer({
              minimum: 0,
              maximum: 10000,
              default: defaults.maxEventLoopLagMs,
              description:
                'Write above which lag of the event loop, in ms, requests are answered with 503; 0 for never.',
            }),
          ),
        },
        { ...strict, description: 'Write maxEventLoopLagMs, or remove the key.' },
      ),
    ),
    log: Type.Optional(
      Type.Object(
        {
          refusalsPerSecond: Type.Optional(
            Type.Integer({
              minimum: 0,
              maximum: 10000,
              default: defaults.refusalsPerSecond,
              description:
                'Write how many refusals of one reason get a line each in a second, from 0 to 10000.',
            }),
          ),
          format: Type.Optional(
            Type.Enum([...logFormats], {
              description:
                'Write numeric (JSON: level 30, time in ms), named (JSON: level "info", ISO time) or text (for people), or remove the key: text on a terminal, else numeric.',
            }),
          ),
          audit: Type.Optional(
            Type.Object(
              {
                destination: Type.String({
                  minLength: 1,
                  description: 'Write stdout, or the path of the file that the audit goes to.',
                }),
              },
              { ...strict, description: 'Write destination, or remove the key for no audit.' },
            ),
          ),
        },
        { ...strict, description: 'Write refusalsPerSecond, format and audit, or remove the key.' },
      ),
    ),
    cloud: Type.Optional(
      Type.Enum(['public', 'usgov', 'china'], {
        default: 'public',
        description: 'Write public, usgov or china: the cloud of tenants without an authority.',
      }),
    ),
    tenants: Type.Record(Type.String({ pattern: NAME_PATTERN }), tenant, {
      ...strict,
      minProperties: 1,
      description: 'Write a name and the tenant id (a GUID) of each tenant that you trust.',
    }),
    signIn: Type.Optional(signIn),
    clockSkewSeconds: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 600,
        default: defaults.clockSkewSeconds,
        description: 'Write how many seconds clocks may differ, from 0 to 600.',
      }),
    ),
    identityHeaders: Type.Optional(
      Type.Union(
        [
          Type.Enum([...HEADER_SETS]),
          Type.Record(
            Type.String({ pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$" }),
            Type.Enum([...HEADER_CLAIMS], {
              description: `Write one of ${HEADER_CLAIMS.join(', ')}.`,
            }),
            { ...strict, minProperties: 1 },
          ),
        ],
        {
          default: defaults.identityHeaders,
          description:
            'Write x-auth-request, remote-user or app-service, or a mapping from header names to claims.',
        },
      ),
    ),
    policies: Type.Record(Type.String({ pattern: NAME_PATTERN }), policy, {
      ...strict,
      minProperties: 1,
      description: 'Write at least one policy: a name, and under it audiences and allow.',
    }),
  },
  {
    ...strict,
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'haproxy-entra-auth configuration',
    description: 'Write a mapping with at least tenants and policies.',
  },
)

/** The configuration file as it is written. */
export type ConfigFile = Type.Static<typeof configFileSchema>
