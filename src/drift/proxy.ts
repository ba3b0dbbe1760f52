import { type Condition, readCondition } from './condition.ts'
import { isChosenByClient } from './data-flow.ts'
import { expressionsIn } from './expression.ts'
import type { Place } from './finding.ts'
import type { HaproxyConfig, Line, Section } from './haproxy-file.ts'
import { readPattern } from './request.ts'

/** One rule that a request meets, in the order of evaluation. */
export interface Rule {
  readonly line: Line
  /** `http-request`, `tcp-request`, or `redirect` where the rule is one of the old kind. */
  readonly keyword: string
  /** Such as `deny` or `lua.entra-auth`. */
  readonly action: string
  /** Words after the action, condition included. */
  readonly words: readonly string[]
  /** Undefined where the rule always fires. */
  readonly condition: Condition | undefined
}

/** `use_backend` or `default_backend`. */
export interface Route {
  readonly line: Line
  readonly target: string
  /** The target is computed from the request. */
  readonly dynamic: boolean
  readonly condition: Condition | undefined
}

export interface Server {
  readonly line: Line
  readonly name: string
  readonly address: string
  /** Words after the address, with those of `default-server` before them. */
  readonly options: readonly string[]
}

/** A frontend, listen or backend with what matters here. */
export interface ProxySection {
  readonly section: Section
  readonly kind: 'frontend' | 'listen' | 'backend'
  readonly name: string
  readonly place: Place
  readonly mode: string
  /** Those of its defaults first, as HAProxy evaluates them; they count in `mode http` only. */
  readonly rules: readonly Rule[]
  /** `tcp-request content` rules, which come before those of HTTP. */
  readonly tcpRules: readonly Rule[]
  /** Whether each client speaks TLS to it; undefined where that depends on the client. */
  readonly isTls: boolean | undefined
  readonly routes: readonly Route[]
  readonly servers: readonly Server[]
  readonly binds: readonly { readonly line: Line; readonly addresses: readonly string[] }[]
}

/** Who sends requests where. */
export interface Topology {
  readonly config: HaproxyConfig
  readonly proxies: readonly ProxySection[]
  /** The frontends and listens that route to this one. */
  entriesOf(proxy: ProxySection): readonly ProxySection[]
  /** The proxies that this one may route to. */
  targetsOf(proxy: ProxySection): readonly ProxySection[]
}

/** Reads the frontends, listens and backends of a configuration. */
export function readTopology(config: HaproxyConfig): Topology {
  const proxies = config.sections.filter((section) => !isDisabled(section)).flatMap(readProxy)
  const backends = proxies.filter(({ kind }) => kind !== 'frontend')
  const targets = new Map(
    proxies.map((proxy) => [
      proxy,
      backends.filter((backend) => backend !== proxy && routesTo(proxy, backend).length > 0),
    ]),
  )
  const targetsOf = (proxy: ProxySection) => targets.get(proxy) ?? []
  return {
    config,
    proxies,
    targetsOf,
    entriesOf: (proxy) => proxies.filter((entry) => targetsOf(entry).includes(proxy)),
  }
}

/** The routes of `from` that may lead to `to`; a computed name may be that of any backend. */
export function routesTo(from: ProxySection, to: ProxySection): Route[] {
  return from.routes.filter((route) =>
    route.dynamic ? mayBe(route, to) && fitsMode(from, route, to) : route.target === to.name,
  )
}

/** A map names backends of the mode of its frontend; a client names what it likes. */
function fitsMode(from: ProxySection, route: Route, to: ProxySection): boolean {
  const isSame = (from.mode === 'http') === (to.mode === 'http')
  return isSame || isChosenByClient(route, [...from.tcpRules, ...from.rules])
}

/** A computed name can be that of any section that fits the text around its expressions. */
export function mayBe({ target, line }: Route, { kind, name }: ProxySection): boolean {
  if (kind !== 'backend') return false
  if (!target.includes('%[')) return line.unresolved.length > 0
  const pieces = expressionsIn(target).reduce(
    (left, expression) => left.replace(`%[${expression}]`, '\0'),
    target,
  )
  const [start = '', ...others] = pieces.split('\0')
  const end = others.at(-1) ?? ''
  return name.startsWith(start) && name.endsWith(end) && name.length >= start.length + end.length
}

/** The place of a line in its section. */
export function placeOf(line: Line, section: Section): Place {
  const name = [section.kind, section.name].filter(Boolean).join(' ')
  return { file: line.file, line: line.number, section: name }
}

/** Whether HAProxy leaves the section out. */
function isDisabled(section: Section): boolean {
  const last = [...(section.defaults?.lines ?? []), ...section.lines].findLast(({ words }) =>
    /^(dis|en)abled$/.test(words[0] ?? ''),
  )
  return last?.words[0] === 'disabled'
}

/** The value of a setting such as `timeout server`, in the section or in its defaults. */
export function settingOf(section: Section, ...keywords: readonly string[]): Line | undefined {
  for (let from: Section | undefined = section; from; from = from.defaults) {
    const line = from.lines.findLast(({ words }) =>
      keywords.every((keyword, index) => words[index] === keyword),
    )
    if (line) return line
  }
  return undefined
}

/** Whether `option NAME` is on, and the words after it; `no option NAME` switches it off. */
export function optionOf(section: Section, name: string): Line | undefined {
  for (let from: Section | undefined = section; from; from = from.defaults) {
    const line = from.lines.findLast(
      ({ words }) =>
        (words[0] === 'option' && words[1] === name) ||
        (words[0] === 'no' && words[1] === 'option' && words[2] === name),
    )
    if (line) return line.words[0] === 'option' ? line : undefined
  }
  return undefined
}

/** Header names that a `del-header` rule removes; undefined for any other rule. */
export function headerRemover(rule: Rule): ((name: string) => boolean) | undefined {
  if (rule.action !== 'del-header') return undefined
  const name = rule.words[0] ?? ''
  const method = rule.words[1] === '-m' ? rule.words[2] : 'str'
  const plain = name.toLowerCase()
  switch (method) {
    case 'str':
      return (header) => header === plain
    case 'beg':
      return (header) => header.startsWith(plain)
    case 'end':
      return (header) => header.endsWith(plain)
    case 'sub':
      return (header) => header.includes(plain)
    case 'reg': {
      // HAProxy compares case-sensitively with names in lower case.
      const pattern = readPattern(name)
      return (header) => pattern?.test(header) ?? false
    }
    default:
      return () => false
  }
}

function readProxy(section: Section): ProxySection[] {
  const { kind, name, head } = section
  if (kind !== 'frontend' && kind !== 'listen' && kind !== 'backend') return []
  const lines = section.lines
  const mode = settingOf(section, 'mode')?.words[1] ?? 'tcp'
  const inherited = section.defaults
  const rulesOf = (keyword: string) => [
    ...(inherited?.lines ?? []).flatMap((line) => readRule(line, keyword, inherited ?? section)),
    ...lines.flatMap((line) => readRule(line, keyword, section)),
  ]
  const route = settingOf(section, 'default_backend')
  const routeLines = [
    ...lines.filter(({ words }) => words[0] === 'use_backend'),
    ...(route ? [route] : []),
  ]
  const binds = lines.filter(({ words }) => words[0] === 'bind')
  const encrypted = binds.filter(({ words }) => words.includes('ssl')).length
  return [
    {
      section,
      kind,
      name,
      place: placeOf(head, section),
      mode,
      isTls: encrypted === binds.length ? encrypted > 0 : encrypted === 0 ? false : undefined,
      // A line "redirect …" is evaluated behind all http-request rules.
      rules: ['http-request', 'redirect'].flatMap(rulesOf),
      tcpRules: rulesOf('tcp-request'),
      routes: kind === 'backend' ? [] : routeLines.map((line) => readRoute(line, section)),
      servers: kind === 'frontend' ? [] : readServers(section),
      binds: binds.map((line) => ({ line, addresses: line.words[1]?.split(',') ?? [] })),
    },
  ]
}

function readRule(line: Line, keyword: string, section: Section): Rule[] {
  const [first, ...rest] = line.words
  if (first !== keyword) return []
  if (keyword === 'tcp-request') {
    // Rules of the connection see no request, but may keep what the client said before it.
    const isEarly = rest.shift() !== 'content'
    if (isEarly && !rest[0]?.startsWith('set-var')) return []
  }
  const action = keyword === 'redirect' ? 'redirect' : rest.shift()
  if (action === undefined) return []
  const condition = readCondition(line.words, section)
  return [{ line, keyword, action, words: rest, condition }]
}

function readRoute(line: Line, section: Section): Route {
  const target = line.words[1] ?? ''
  const dynamic = target.includes('%[') || line.unresolved.length > 0
  return { line, target, dynamic, condition: readCondition(line.words, section) }
}

function readServers(section: Section): Server[] {
  const servers: Server[] = []
  const inherited = section.defaults && settingOf(section.defaults, 'default-server')
  let defaults = inherited?.words.slice(1) ?? []
  for (const line of section.lines) {
    const [keyword, name = '', address = '', ...options] = line.words
    if (keyword === 'default-server') defaults = [...defaults, ...line.words.slice(1)]
    if (keyword === 'server') {
      servers.push({ line, name, address, options: [...defaults, ...options] })
    }
    if (keyword === 'server-template') {
      const [own = '', ...rest] = options
      servers.push({ line, name, address: own, options: [...defaults, ...rest] })
    }
    // One address for all, or the one that the client asked for.
    if (keyword === 'dispatch') servers.push({ line, name: keyword, address: name, options: [] })
    if (keyword === 'option' && (name === 'http_proxy' || name === 'transparent')) {
      servers.push({ line, name, address: '*', options: [] })
    }
  }
  return servers
}
