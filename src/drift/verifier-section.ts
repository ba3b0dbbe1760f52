import { hostOf, isLocal, serverKey } from './address.ts'
import { conditionHolds, readCondition, type Term, testsOf } from './condition.ts'
import { isChosenByClient, isWritten } from './data-flow.ts'
import { endsRequest, isAction, isRefusal, rewrites } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import type { Section } from './haproxy-file.ts'
import {
  mayBe,
  optionOf,
  type ProxySection,
  placeOf,
  type Route,
  type Rule,
  routesTo,
  type Server,
  settingOf,
  type Topology,
} from './proxy.ts'
import type { Request } from './request.ts'

const defaultAddress = '127.0.0.1:14480'
const metadataPath = '/.well-known/oauth-protected-resource'

/** The section between the action and the verifier, and the backends for RFC 9728 beside it. */
export interface VerifierSections {
  /** `listen`, or a frontend and its backend. */
  readonly sections: readonly ProxySection[]
  /** Other sections whose servers are the verifier's. */
  readonly metadata: readonly ProxySection[]
  /** Those of both kinds that lead to nothing but the verifier, and so need no action. */
  readonly own: readonly ProxySection[]
  /** Where the action calls, `HOST:PORT`. */
  readonly address: string
}

/** Finds the verifier's section by the address that the action calls, or by its usual name. */
export function findVerifier(topology: Topology): VerifierSections {
  const address = actionAddress(topology)
  const entries = topology.proxies.filter(({ kind }) => kind !== 'backend')
  const entry =
    entries.find(({ name }) => name === 'entra-verifier') ??
    entries.find(({ binds }) =>
      binds.some(({ addresses }) =>
        addresses.some((one) => !one.startsWith('$') && answers(one, address)),
      ),
    )
  const sections = entry ? [entry, ...topology.targetsOf(entry)] : []
  const own = new Set(
    sections.flatMap(({ servers }) => servers.map(({ address }) => serverKey(address))),
  )
  const isVerifier = (server: Server) =>
    own.has(serverKey(server.address)) || tracks(server, sections)
  const metadata = topology.proxies.filter(
    (proxy) => !sections.includes(proxy) && proxy.servers.some(isVerifier),
  )
  return {
    sections,
    metadata,
    own: [
      // An application that this section leads to as well is none of its own.
      ...sections.filter(({ rules }) => !rules.some(isAction)),
      ...metadata.filter(({ servers }) => servers.every(isVerifier)),
    ],
    address,
  }
}

function actionAddress({ config }: Topology): string {
  for (const { kind, lines } of config.sections) {
    if (kind !== 'global') continue
    for (const { words } of lines) {
      if (words[0] !== 'lua-load' && words[0] !== 'lua-load-per-thread') continue
      const given = words.find((word) => word.startsWith('verifier='))
      if (given) return given.slice('verifier='.length)
    }
  }
  return config.variables.get('ENTRA_AUTH_VERIFIER') ?? defaultAddress
}

function tracks({ options }: Server, sections: readonly ProxySection[]): boolean {
  const tracked = options[options.indexOf('track') + 1] ?? ''
  return options.includes('track') && sections.some(({ name }) => tracked.startsWith(`${name}/`))
}

const wildcards = new Set(['', '*', '0.0.0.0', '::', '[::]'])

function answers(bound: string, called: string): boolean {
  // Known to HAProxy's environment alone.
  if (bound.startsWith('$')) return true
  const port = /:(\d+)$/.exec(called)?.[1]
  if (/:(\d+)$/.exec(bound)?.[1] !== port) return false
  const host = hostOf(bound)
  return wildcards.has(host) || host === hostOf(called)
}

/** The verifier's section: that it is there, that only the action reaches it, that it fails fast. */
export function checkVerifier(
  topology: Topology,
  found: VerifierSections,
  speaksTls: boolean,
): Finding[] {
  const action = topology.proxies.flatMap(({ rules, section }) =>
    rules.filter(isAction).map(({ line }) => placeOf(line, section)),
  )[0]
  const [entry] = found.sections
  const reached = entry?.binds.some(({ addresses }) =>
    addresses.some((one) => answers(one, found.address)),
  )
  const isServed = found.sections.some(({ servers }) => servers.length > 0)
  const missing =
    action && !(reached && isServed)
      ? [
          finding(
            'verifier-missing',
            entry?.place ?? action,
            describeMissing(found, reached),
            `Add listen entra-verifier with bind ${found.address}; haproxy-entra-auth haproxy-config prints it.`,
          ),
        ]
      : []
  return [
    ...missing,
    ...found.sections.flatMap((proxy) => [
      ...checkBinds(proxy),
      ...checkRoutes(proxy, found, topology),
      ...checkReplicas(proxy),
      ...checkAnswers(proxy),
      ...checkTransport(proxy, topology),
    ]),
    ...found.metadata.flatMap((proxy) => checkMetadata(proxy, topology)),
    ...(speaksTls ? [...found.sections, ...found.metadata].flatMap(checkSpeaksTls) : []),
  ]
}

function describeMissing({ sections, address }: VerifierSections, reached = false): string {
  if (sections.length === 0) return `calls ${address}, where no section listens`
  return reached ? 'has no server' : `does not listen on ${address}, where the action calls`
}

function checkBinds({ binds, section }: ProxySection): Finding[] {
  return binds.flatMap(({ line, addresses }) => {
    const open = addresses.find((address) => !isLocal(address))
    if (open === undefined) return []
    return [
      finding(
        'verifier-public',
        placeOf(line, section),
        `listens on ${open}, so others than the action can ask the verifier`,
        `Bind it to loopback, as ${defaultAddress}.`,
      ),
    ]
  })
}

function checkRoutes(
  proxy: ProxySection,
  { sections }: VerifierSections,
  topology: Topology,
): Finding[] {
  return topology.proxies
    .filter((from) => !sections.includes(from))
    .flatMap((from) =>
      [
        ...routesTo(from, proxy).filter(({ dynamic }) => !dynamic),
        ...from.routes.filter((route) => route.dynamic && mayName(route, proxy, from)),
      ].map(({ line, dynamic }) =>
        finding(
          'verifier-routed',
          placeOf(line, from.section),
          dynamic
            ? `computes the name of the backend, which may be ${proxy.name}`
            : `routes clients to ${proxy.name}, which is for the action only`,
          dynamic
            ? 'Look the name up in a map of the backends that clients may reach.'
            : 'Remove it; for the metadata of RFC 9728 use a backend of its own.',
        ),
      ),
    )
}

/** Whether clients can say the name of this section where a route computes one. */
function mayName(route: Route, proxy: ProxySection, from: ProxySection): boolean {
  const rules = [...from.tcpRules, ...from.rules]
  if (isWritten(proxy.name, route, rules)) return true
  // A computed name reaches a listen section as well.
  return isChosenByClient(route, rules) && mayBe(route, { ...proxy, kind: 'backend' })
}

/** The verifier answers at once; the callback of a sign-in waits for Entra. */
const longestAnswers = { verifier: 5_000, signIn: 30_000 } as const

/** That a replica which is down or hangs costs nobody more than a moment. */
export function checkReplicas(
  proxy: ProxySection,
  listener: keyof typeof longestAnswers = 'verifier',
): Finding[] {
  return [
    ...checkHealth(proxy),
    ...checkTimeouts(proxy, { connect: 1_000, server: longestAnswers[listener] }),
  ]
}

function checkHealth({ servers, section, place }: ProxySection): Finding[] {
  if (servers.length === 0) return []
  const unchecked = servers.find(
    ({ options }) => options.lastIndexOf('check') <= options.lastIndexOf('no-check'),
  )
  if (optionOf(section, 'httpchk') && !unchecked) return []
  return [
    finding(
      'verifier-unchecked',
      unchecked ? placeOf(unchecked.line, section) : place,
      'has no health check, so requests go to a replica that is down or has no keys',
      'Add option httpchk GET /readyz, and check on each server.',
    ),
  ]
}

function checkTimeouts(
  { section, place, servers }: ProxySection,
  longest: Readonly<Record<'connect' | 'server', number>>,
): Finding[] {
  if (servers.length === 0) return []
  return (['connect', 'server'] as const).flatMap((kind) => {
    const line = settingOf(section, 'timeout', kind)
    const text = line?.words[2]
    if (text !== undefined && milliseconds(text) <= longest[kind]) return []
    return [
      finding(
        'verifier-slow',
        line && section.lines.includes(line) ? placeOf(line, section) : place,
        `has ${text === undefined ? 'no' : 'a'} timeout ${kind}${text === undefined ? '' : ` of ${text}`}: every request waits that long when the replica hangs`,
        'Take the timeouts that haproxy-entra-auth haproxy-config prints for the section.',
      ),
    ]
  })
}

/** A duration of HAProxy; a bare number is in milliseconds. */
function milliseconds(text: string): number {
  const [, number, unit = 'ms'] = /^(\d+)(us|ms|s|m|h|d)?$/.exec(text) ?? []
  const factors = { us: 0.001, ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
  return Number(number ?? Number.NaN) * factors[unit as keyof typeof factors]
}

/** What keeps an answer without an end from holding a request, and from filling the memory. */
const limits: readonly (readonly [
  name: string,
  isThere: (words: readonly string[], section: Section) => boolean,
])[] = [
  [
    'tcp-response content reject if { status lt 200 }',
    (words, section) =>
      begins(words, 'tcp-response', 'content', 'reject') &&
      // Without a condition it refuses every answer.
      [100, 103, 199].every((status) => fires(words, section, { status })),
  ],
  [
    'tcp-response inspect-delay',
    (words) => begins(words, 'tcp-response', 'inspect-delay') && isShort(words[2]),
  ],
  [
    'http-response wait-for-body',
    (words, section) =>
      begins(words, 'http-response', 'wait-for-body') &&
      isShort(words[3]) &&
      fires(words, section, {}),
  ],
  [
    'http-response deny … { res.body_size gt … }',
    (words, section) =>
      begins(words, 'http-response', 'deny') &&
      readsBody(words, section) &&
      fires(words, section, { bodySize: mostBytes }),
  ],
]

/** No answer of the verifier comes near it. */
const mostBytes = 64 * 1_048_576

function begins(words: readonly string[], ...start: readonly string[]): boolean {
  return start.every((word, index) => words[index] === word)
}

/** On answers to the action, which begin with /verify; what else a condition asks may not be so. */
function fires(words: readonly string[], section: Section, request: Request): boolean {
  const condition = readCondition(words, section)
  const holds = conditionHolds(condition, { facts: [], request })
  if (holds !== undefined) return holds
  return testsOf(condition).every(
    ([fetch = '', ...rest]) =>
      ['status', 'res.body_size'].includes(fetch) ||
      (/^var\((?:txn|req|proc|sess)\.\w+\)$/.test(fetch) && rest.includes('/verify')),
  )
}

function readsBody(words: readonly string[], section: Section): boolean {
  return testsOf(readCondition(words, section)).some(([fetch]) => fetch === 'res.body_size')
}

function isShort(time = ''): boolean {
  return milliseconds(time) <= 60_000
}

function checkAnswers({ servers, section, place, mode }: ProxySection): Finding[] {
  if (servers.length === 0) return []
  const isThere = (limit: (typeof limits)[number][1]) =>
    [section.defaults, section].some((from) => from?.lines.some(({ words }) => limit(words, from)))
  // In another mode HAProxy ignores them.
  const missing = limits.filter(([, limit]) => mode !== 'http' || !isThere(limit))
  if (missing.length === 0) return []
  return [
    finding(
      'verifier-unbounded',
      place,
      `has no limit on an answer without an end, for want of: ${missing.map(([name]) => name).join(', ')}`,
      'Take the tcp-response and http-response lines that haproxy-entra-auth haproxy-config prints.',
    ),
  ]
}

function checkTransport({ servers, section }: ProxySection, { config }: Topology): Finding[] {
  const byDefault = config.sections
    .filter(({ kind }) => kind === 'global')
    .flatMap(({ lines }) => lines)
    .findLast(({ words }) => words[0] === 'ssl-server-verify')?.words[1]
  return servers
    .filter(({ address }) => !isLocal(address))
    .filter(({ options }) => !isVerified(options, byDefault))
    .map(({ line, address }) =>
      finding(
        'verifier-plaintext',
        placeOf(line, section),
        `asks the verifier at ${address} without verified TLS: whoever sits on the path can forge an allow`,
        'Add ssl verify required ca-file FILE verifyhost NAME, or run the verifier on this host.',
      ),
    )
}

/** TLS to a certificate of the right authority and with the right name. */
function isVerified(options: readonly string[], byDefault = 'required'): boolean {
  const wordBehind = (name: string) => {
    const at = options.lastIndexOf(name)
    return at < 0 ? undefined : options[at + 1]
  }
  const isTls = options.lastIndexOf('ssl') > options.lastIndexOf('no-ssl')
  const hasName =
    options.lastIndexOf('verifyhost') > options.lastIndexOf('no-verifyhost') ||
    /^str\(.+\)$/.test(wordBehind('sni') ?? '')
  return isTls && (wordBehind('verify') ?? byDefault) === 'required' && hasName
}

function checkSpeaksTls({ servers, section }: ProxySection): Finding[] {
  return servers
    .filter(({ options }) => !options.includes('ssl'))
    .map(({ line, address }) =>
      finding(
        'verifier-tls-missing',
        placeOf(line, section),
        `asks the verifier at ${address} over plain HTTP, although listen.tls is set: each request gets 503`,
        'Add ssl verify required ca-file FILE verifyhost NAME; haproxy-entra-auth haproxy-config prints it.',
      ),
    )
}

function isMetadataPath(path: string): boolean {
  return path === metadataPath || path.startsWith(`${metadataPath}/`)
}

function isFixedMetadataPath({ action, words: [path = ''] }: Rule): boolean {
  return action.startsWith('set-') && !path.includes('%[') && isMetadataPath(path)
}

function isMetadataTest(test: readonly string[]): boolean {
  const [fetch, ...values] = test
  const paths = values.filter((word) => word !== '--')
  return fetch === 'path' && paths.length > 0 && paths.every(isMetadataPath)
}

function isMetadataTerm({ negated, tests }: Term): boolean {
  return !negated && tests.length > 0 && tests.every(isMetadataTest)
}

function checkMetadata(proxy: ProxySection, topology: Topology): Finding[] {
  const routes = topology
    .entriesOf(proxy)
    .flatMap((entry) => routesTo(entry, proxy).map((route) => ({ route, entry })))
    // What a map leads to is the operator's own list.
    .filter(
      ({ route, entry }) =>
        !route.dynamic || isChosenByClient(route, [...entry.tcpRules, ...entry.rules]),
    )
  const isReached = routes.length > 0 || proxy.kind === 'listen'
  if (!isReached && proxy.mode !== 'http') return []
  // The whole of a path, not its beginning: `path` compares with all of it.
  const elsewhere = '/verify/x'
  const turns = proxy.rules.find((rule) => rewrites(rule, 'path', '') && !isFixedMetadataPath(rule))
  if (turns && isReached) {
    return [
      finding(
        'metadata-open',
        placeOf(turns.line, proxy.section),
        `turns paths into others, so that clients can ask the verifier through ${proxy.name} for more than ${metadataPath}`,
        `Write http-request set-path ${metadataPath}/…, the whole path of the resource, or remove the line.`,
      ),
    ]
  }
  const refusesOthers =
    proxy.mode === 'http' &&
    proxy.rules.some(
      (rule) =>
        isRefusal(rule) &&
        rule.condition?.groups.flat().some(isMetadataLike) &&
        conditionHolds(rule.condition, { facts: [], request: { path: elsewhere } }) === true,
    )
  const open = routes.filter(
    ({ route: { condition } }) =>
      condition?.keyword !== 'if' || !condition.groups.every((group) => group.some(isMetadataTerm)),
  )
  if (refusesOthers || (routes.length > 0 && open.length === 0)) return []
  if (proxy.rules.some((rule) => endsRequest(rule) && !rule.condition)) return []
  const [first] = open
  return [
    finding(
      'metadata-open',
      first ? placeOf(first.route.line, first.entry.section) : proxy.place,
      `lets clients ask the verifier through ${proxy.name} for more than ${metadataPath}`,
      `Route to it only with if { path ${metadataPath}/… }, the whole path of the resource.`,
    ),
  ]
}

/** An ACL on the metadata path alone, negated or not. */
function isMetadataLike({ tests }: Term): boolean {
  return tests.length > 0 && tests.every(isMetadataTest)
}
