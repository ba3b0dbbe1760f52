// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
/** What the admission policies refuse and what they admit, by the policy that is asked. */
import type { Creation } from './admission-policies.ts'

/** A case, and part of the message with which it is refused; none where it is admitted. */
export interface AdmissionCase {
  readonly title: string
  readonly creation: Creation
  readonly refusal?: string
}

type Annotations = Readonly<Record<string, string>>

export function ingress(annotations: Annotations, spec: object = {}): Creation {
  return {
    group: 'networking.k8s.io',
    resource: 'ingresses',
    namespace: 'shop',
    object: {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'orders', namespace: 'shop', annotations },
      spec: {
        ingressClassName: 'haproxy',
        rules: [
          {
            host: 'orders.example.com',
            http: {
              paths: [
                {
                  path: '/',
                  pathType: 'Prefix',
                  backend: { service: { name: 'orders', port: { number: 80 } } },
                },
              ],
            },
          },
        ],
        ...spec,
      },
    },
  }
}

export function service(annotations?: Annotations): Creation {
  return {
    group: '',
    resource: 'services',
    namespace: 'shop',
    object: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'orders', namespace: 'shop', ...(annotations && { annotations }) },
      spec: { ports: [{ port: 80 }], selector: { app: 'orders' } },
    },
  }
}

function route(kind: string, apiVersion: string, spec: object): Creation {
  return {
    group: apiVersion.split('/')[0] ?? '',
    resource: `${kind.toLowerCase()}s`,
    namespace: 'shop',
    object: { apiVersion, kind, metadata: { name: 'orders', namespace: 'shop' }, spec },
  }
}

const backend = { service: { name: 'orders', port: { number: 80 } } }

/** A line of HAProxy, where a field is written into its configuration as it is. */
const secondLine = '\n  http-request set-header X-Auth-Request-User admin'

/** A route that changes headers, for all its backends or for the second one. */
export function filtered(kind: string, requestHeaderModifier: object, ofBackend = false): Creation {
  const filters = [
    { type: 'URLRewrite', urlRewrite: { hostname: 'orders.example.com' } },
    { type: 'RequestHeaderModifier', requestHeaderModifier },
  ]
  const ref = { name: 'orders', port: 80 }
  return route(kind, 'gateway.networking.k8s.io/v1', {
    rules: [
      { backendRefs: [ref] },
      {
        backendRefs: [ref, { ...ref, ...(ofBackend && { filters }) }],
        ...(!ofBackend && { filters }),
      },
    ],
  })
}

const gateway = (listener: object, gatewayClassName = 'haproxy') =>
  route('Gateway', 'gateway.networking.k8s.io/v1', { gatewayClassName, listeners: [listener] })
const resource = (kind: string, spec: object, version = 'v3') =>
  route(kind, `ingress.${version}.haproxy.org/${version}`, spec)

const annotationPrefixes = [
  'haproxy-ingress.github.io/',
  'ingress.kubernetes.io/',
  'haproxy.org/',
  'haproxy.com/',
  // kubernetes-ingress takes an annotation without a prefix, and haproxy-ingress any that it is told.
  '',
  'example.com/',
]
// strconv.ParseBool of Go, and what kubernetes-ingress takes besides.
const truths = ['true', 'True', 'TRUE', 't', 'T', '1', 'enabled', 'on', 'ON', 'yes', '']

const passthrough = 'ssl-passthrough goes around'
const lines = 'Lines of HAProxy'
const header = 'changes a header'
const condition = 'a comment or a condition'
const expression = 'an expression that changes variables'
const credentials = 'sets credentials'

/** For recipes/kubernetes/admission-policy.yaml. */
export const bypassCases: readonly AdmissionCase[] = [
  { title: 'a plain Ingress', creation: ingress({}) },
  { title: 'a plain Service', creation: service() },
  {
    title: 'annotations that change nothing here',
    creation: ingress({
      'haproxy-ingress.github.io/ssl-redirect': 'true',
      'haproxy.org/path-rewrite': '/',
      'haproxy.org/ssl-passthrough': 'false',
      'haproxy.org/request-set-header': 'X-Team shop',
      'haproxy-ingress.github.io/auth-headers-succeed': 'X-Auth-Request-*',
      'kubectl.kubernetes.io/last-applied-configuration': '{"a":"ssl-passthrough"}',
    }),
  },
  ...annotationPrefixes.flatMap((prefix) => [
    ...truths.map((value) => ({
      title: `${prefix}ssl-passthrough: '${value}'`,
      creation: ingress({ [`${prefix}ssl-passthrough`]: value }),
      refusal: passthrough,
    })),
    {
      title: `${prefix}ssl-passthrough of a Service`,
      creation: service({ [`${prefix}ssl-passthrough`]: 'true' }),
      refusal: passthrough,
    },
    ...[
      'backend-config-snippet',
      'config-backend',
      'config-backend-early',
      'config-backend-late',
      'config-tcp-service',
      'configuration-snippet',
    ].map((name) => ({
      title: `${prefix}${name}`,
      creation: ingress({
        [`${prefix}${name}`]: 'http-request set-header x-auth-request-user admin',
      }),
      refusal: lines,
    })),
    ...['X-Auth"-"Request-User', "X-A'uth'-Request-User", 'X-Au\\th-Request-User'].map((name) => ({
      title: `${prefix}request-set-header with ${name}`,
      creation: ingress({ [`${prefix}request-set-header`]: `X-Team shop\n ${name} admin` }),
      refusal: 'The name of a header',
    })),
    ...['auth-url', 'oauth'].map((name) => ({
      title: `${prefix}${name} of another service`,
      creation: ingress({ [`${prefix}${name}`]: 'https://always-yes.example.com/admin' }),
      refusal: 'auth-url and oauth let another service',
    })),
    {
      title: `${prefix}auth-url of a Service`,
      creation: service({ [`${prefix}auth-url`]: 'svc://always-yes:80/admin' }),
      refusal: 'auth-url and oauth let another service',
    },
    {
      title: `${prefix}tcp-service-port`,
      creation: ingress({ [`${prefix}tcp-service-port`]: '8443' }),
      refusal: 'tcp-service-port goes around',
    },
    ...[
      'X-Auth-Request-User',
      'x_auth_request_roles',
      'X.Entra.Auth.User',
      'Remote-User',
      'remote_groups',
      'Remote-Anything',
      'X-MS-CLIENT-PRINCIPAL',
    ].map((name) => ({
      title: `${prefix}request-set-header with ${name}`,
      creation: ingress({ [`${prefix}request-set-header`]: `X-Team shop\n${name} admin` }),
      refusal: header,
    })),
    {
      title: `${prefix}headers with an identity header, of a Service`,
      creation: service({ [`${prefix}headers`]: 'X-Auth-Request-User: admin' }),
      refusal: header,
    },
  ]),
  ...annotationPrefixes.slice(0, 5).flatMap((prefix) =>
    ['balance-algorithm', 'session-cookie-keywords', 'src-ip-header', 'made-up-later'].flatMap(
      (name) => [
        {
          title: `${prefix}${name} with a second line`,
          creation: ingress({
            [`${prefix}${name}`]: 'x\n  http-request set-header x-auth-request-user admin',
          }),
          refusal: 'This annotation has one line',
        },
        {
          title: `${prefix}${name} of a Service with a second line after a return`,
          creation: service({ [`${prefix}${name}`]: 'x\r\n\thttp-request allow' }),
          refusal: 'This annotation has one line',
        },
      ],
    ),
  ),
  {
    title: 'lists with an entry a line, and a line break at the end',
    creation: ingress({
      'haproxy.org/request-set-header': 'X-Team shop\nX-Shop "the \'best\' one"\n',
      'haproxy-ingress.github.io/headers': 'x-path: /\nhost: %[service].example.com\n',
      'haproxy.org/path-rewrite': '/a /b\n/c /d',
      'haproxy.org/load-balance': 'roundrobin\n',
      'kubectl.kubernetes.io/last-applied-configuration': '{}\n{}\n',
      'example.com/note': 'one\ntwo',
      'nginx.ingress.kubernetes.io/auth-url': 'https://login.example.com',
      'haproxy-ingress.github.io/auth-url': '',
    }),
  },
  {
    title: 'two prefixes, of which one is true',
    creation: ingress({
      'haproxy-ingress.github.io/ssl-passthrough': 'false',
      'ingress.kubernetes.io/ssl-passthrough': 'true',
    }),
    refusal: passthrough,
  },
  {
    title: 'an Ingress without a class, which may be anybody’s',
    creation: ingress({ 'haproxy.org/ssl-passthrough': 'true' }, { ingressClassName: undefined }),
    refusal: passthrough,
  },
  { title: 'a route-acl', creation: service({ 'haproxy.org/route-acl': 'path_reg path-in-bug' }) },
  {
    title: 'a route-acl with a line behind it',
    creation: service({
      'haproxy.org/route-acl': 'always_true }\n  http-request allow if { always_true',
    }),
    refusal: 'route-acl is one condition',
  },
  ...['v1', 'v1alpha2', 'v1alpha3'].map((version) => ({
    title: `a TLSRoute of ${version}`,
    creation: route('TLSRoute', `gateway.networking.k8s.io/${version}`, { rules: [] }),
    refusal: 'A route of TCP, TLS or UDP',
  })),
  {
    title: 'a TCPRoute',
    creation: route('TCPRoute', 'gateway.networking.k8s.io/v1alpha2', { rules: [] }),
    refusal: 'A route of TCP, TLS or UDP',
  },
  { title: 'an HTTPRoute', creation: route('HTTPRoute', 'gateway.networking.k8s.io/v1', {}) },
  ...(['HTTPRoute', 'GRPCRoute'] as const).flatMap((kind) =>
    [
      { set: [{ name: 'X-Team', value: 'shop' }] },
      { set: [{ name: 'X-Author', value: 'me' }], remove: ['Cookie'] },
    ].map((modifier) => ({
      title: `${kind} with a filter: ${JSON.stringify(modifier)}`,
      creation: filtered(kind, modifier),
    })),
  ),
  ...(['HTTPRoute', 'GRPCRoute'] as const).flatMap((kind) =>
    [
      { set: [{ name: "X-'Auth'-Request-User", value: 'admin' }] },
      { add: [{ name: "'Remote-User'", value: 'admin' }] },
      { set: [{ name: 'X-Team', value: `a${secondLine}` }] },
      { add: [{ name: 'X-Team', value: 'a\rb' }] },
      { remove: [`X-Team${secondLine}`] },
    ].flatMap((modifier) =>
      [false, true].map((ofBackend) => ({
        title: `${kind} with a filter${ofBackend ? ' of a backend' : ''}: ${JSON.stringify(modifier)}`,
        creation: filtered(kind, modifier, ofBackend),
        refusal: 'and its value one line',
      })),
    ),
  ),
  {
    title: 'an HTTPRoute that changes a header of the answer with a second line',
    creation: route('HTTPRoute', 'gateway.networking.k8s.io/v1', {
      rules: [
        {
          filters: [
            {
              type: 'ResponseHeaderModifier',
              responseHeaderModifier: { set: [{ name: 'X-Team', value: `a${secondLine}` }] },
            },
          ],
        },
      ],
    }),
    refusal: 'and its value one line',
  },
  ...['\r', '\f', '\n\f', ' \v'].map((blank) => ({
    title: `a header's name in quotes behind ${JSON.stringify(blank)}`,
    creation: ingress({
      'haproxy.org/request-set-header': `${blank}"X"-"Auth"-Request-User admin`,
    }),
    refusal: 'The name of a header has',
  })),
  ...[secondLine, ' a', '\t'].flatMap((end) =>
    ['Prefix', 'ImplementationSpecific'].map((pathType) => ({
      title: `a path of type ${pathType} that ends in ${JSON.stringify(end)}`,
      creation: ingress(
        {},
        { rules: [{ http: { paths: [{ path: `/a${end}`, pathType, backend }] } }] },
      ),
      refusal: 'A path has no blanks',
    })),
  ),
  ...['\v', '"', "'", '#'].flatMap((sign) => [
    {
      title: `a path with ${JSON.stringify(sign)}`,
      creation: ingress(
        {},
        { rules: [{ http: { paths: [{ path: `/a${sign}b`, pathType: 'Prefix', backend }] } }] },
      ),
      refusal: 'A path has no blanks',
    },
    {
      title: `an HTTPRoute with a path with ${JSON.stringify(sign)}`,
      creation: route('HTTPRoute', 'gateway.networking.k8s.io/v1', {
        rules: [{ matches: [{ path: { type: 'PathPrefix', value: `/a${sign}b` } }] }],
      }),
      refusal: 'A path has no blanks',
    },
  ]),
  {
    title: 'paths and regular expressions without blanks',
    creation: ingress(
      {},
      {
        rules: [
          { host: 'a.example' },
          {
            http: {
              paths: [
                { path: '/a(/|$)(.*)', pathType: 'ImplementationSpecific', backend },
                { pathType: 'ImplementationSpecific', backend },
              ],
            },
          },
        ],
      },
    ),
  },
  {
    title: 'a Backend with an algorithm',
    creation: resource('Backend', { balance: { algorithm: 'leastconn' }, retries: 3 }),
  },
  ...[
    { description: `a${secondLine}` },
    { acl_list: [{ acl_name: 'a', criterion: 'path', value: `a${secondLine}` }] },
    { balance: { algorithm: 'hash', hash_expression: `a${secondLine}` } },
    { made_up_later: 'a' },
  ].flatMap((spec) =>
    ['v1', 'v3'].map((version) => ({
      title: `a Backend of ${version} with ${Object.keys(spec)}`,
      creation: resource('Backend', version === 'v1' ? { config: spec } : spec, version),
      refusal: 'This field of a Backend',
    })),
  ),
  ...(['HTTPRoute', 'GRPCRoute'] as const).flatMap((kind) =>
    [
      { set: [{ name: 'X-Auth-Request-User', value: 'admin' }] },
      { add: [{ name: 'x_auth_request_roles', value: 'admin' }] },
      { set: [{ name: 'X-Team', value: 'shop' }], add: [{ name: 'Remote-User', value: 'a' }] },
      { remove: ['X-Entra-Auth-User'] },
    ].flatMap((modifier) => [
      {
        title: `${kind} with a filter: ${JSON.stringify(modifier)}`,
        creation: filtered(kind, modifier),
        refusal: 'A filter changes a header',
      },
      {
        title: `${kind} with a filter of a backend: ${JSON.stringify(modifier)}`,
        creation: filtered(kind, modifier, true),
        refusal: 'A filter changes a header',
      },
    ]),
  ),
  ...annotationPrefixes.flatMap((prefix) => [
    ...['X-Auth-Request-User', 'X-Team, Remote-Groups'].map((names) => ({
      title: `${prefix}request-del-headers of ${names}`,
      creation: ingress({ [`${prefix}request-del-headers`]: names }),
      refusal: header,
    })),
    ...['X-"Auth"-Request-User', 'X-A -m beg', 'a\nb'].map((names) => ({
      title: `${prefix}request-del-headers of ${JSON.stringify(names)}`,
      creation: ingress({ [`${prefix}request-del-headers`]: names }),
      refusal: 'request-del-headers has names',
    })),
    ...[
      'Authorization',
      ' cookie',
      'Proxy-Authorization',
      'CONNECTION',
      'Transfer-Encoding',
    ].flatMap((name) => [
      {
        title: `${prefix}request-set-header with ${name}`,
        creation: ingress({ [`${prefix}request-set-header`]: `X-Team shop\n${name} a` }),
        refusal: credentials,
      },
      {
        title: `${prefix}headers with ${name}`,
        creation: ingress({ [`${prefix}headers`]: `${name}: a` }),
        refusal: credentials,
      },
    ]),
    ...['auth-type', 'auth-secret'].map((name) => ({
      title: `${prefix}${name}`,
      creation: ingress({ [`${prefix}${name}`]: 'basic-auth' }),
      refusal: 'write a Secret',
    })),
    {
      title: `${prefix}src-ip-header`,
      creation: ingress({ [`${prefix}src-ip-header`]: 'X-Client-Ip' }),
      refusal: 'src-ip-header lets a client choose',
    },
    ...['..', 'orders X-Auth', "orders' '*", 'orders?policy=stock', ''].map((policy) => ({
      title: `${prefix}auth-url of the verifier with policy '${policy}'`,
      creation: ingress({
        [`${prefix}auth-url`]: `svc://default/verifier-haproxy-entra-auth:verify/verify/${policy}`,
      }),
      refusal: 'auth-url and oauth let another service',
    })),
  ]),
  ...annotationPrefixes.slice(0, 5).flatMap((prefix) => [
    ...Object.entries({
      'set-host': [
        'stock.example.com if TRUE #',
        'a i"f" { str(a) a',
        'a\vif { str(a) a',
        'a \\x69f \\x7b str(a) a',
      ],
      'path-rewrite': ['/admin#', '/.* /admin# '],
      'request-set-header': ['X-Team "a" if TRUE # "', 'X-Team "a" "unless" { str(a) a "'],
      'request-redirect': ['evil.example#'],
      'cors-allow-origin': ['https://evil.example } || { always_false'],
      'allow-list': ['patterns/a } || !{ always_false'],
      'auth-signin': ['/login#'],
      'made-up-later': ['a #', "a 'i\\f' TRUE"],
    }).flatMap(([name, values]) =>
      values.map((value) => ({
        title: `${prefix}${name}: ${JSON.stringify(value)}`,
        creation: ingress({ [`${prefix}${name}`]: value }),
        refusal: condition,
      })),
    ),
    ...Object.entries({
      'request-capture': ['str(admin),set-var(txn.entra.user)', 'src,src_clr_gpc0'],
      'request-set-header': [
        'X-Key "${ENTRA_AUTH_CALLER_KEY}"',
        'X-Key %[env(KEY)]',
        'X-Key %[e"n"v(KEY)]',
      ],
      'response-set-header': ['X-Key "$ENTRA_AUTH_CALLER_KEY"', 'X-A %[sc2_clr_gpc0]'],
      headers: ['X-A: %[req.hdr(a),lua.entra-auth-hit]'],
    }).flatMap(([name, values]) =>
      values.map((value) => ({
        title: `${prefix}${name}: ${JSON.stringify(value)}`,
        creation: service({ [`${prefix}${name}`]: value }),
        refusal: expression,
      })),
    ),
  ]),
  {
    title: 'rewrites, redirects and headers as they are usual',
    creation: ingress({
      'haproxy.org/path-rewrite': '/api/([^/]{2})/(.*)$ /\\2',
      'haproxy.org/cors-allow-origin': '^https://(www\\.)?example\\.(com|org)$',
      'haproxy.org/response-set-header': 'Content-Security-Policy "default-src \'self\'"',
      'haproxy.org/set-host': 'orders.internal',
      'haproxy-ingress.github.io/app-root': '/#/home',
      'haproxy-ingress.github.io/redirect-to': 'https://example.com/#/moved',
      'haproxy-ingress.github.io/rewrite-target': '/\\1',
      'haproxy-ingress.github.io/request-del-headers': 'Authorization,Cookie',
      'haproxy-ingress.github.io/auth-url':
        'svc://default/verifier-haproxy-entra-auth:verify/verify/orders',
      'nginx.ingress.kubernetes.io/auth-type': 'basic',
      'example.com/note': 'if TRUE # ${NAME}',
    }),
  },
  ...(['HTTPRoute', 'GRPCRoute'] as const).flatMap((kind) => [
    ...[
      { set: [{ name: 'Remote-Groups', value: 'admins' }] },
      { remove: ['remote_email'] },
    ].flatMap((modifier) =>
      [false, true].map((ofBackend) => ({
        title: `${kind} with a filter${ofBackend ? ' of a backend' : ''}: ${JSON.stringify(modifier)}`,
        creation: filtered(kind, modifier, ofBackend),
        refusal: 'A filter changes a header',
      })),
    ),
    ...['Authorization', 'cookie', 'Connection'].flatMap((name) =>
      [false, true].map((ofBackend) => ({
        title: `${kind} with a filter${ofBackend ? ' of a backend' : ''} that sets ${name}`,
        creation: filtered(kind, { set: [{ name, value: 'a' }] }, ofBackend),
        refusal: 'A filter sets credentials',
      })),
    ),
    ...[
      { type: 'ExternalAuth', externalAuth: { protocol: 'HTTP', backendRef: { name: 'yes' } } },
      { type: 'ExternalAuth' },
      { type: 'ExtensionRef', extensionRef: { group: 'a.example', kind: 'A', name: 'a' } },
    ].map((filter) => ({
      title: `${kind} with a filter ${JSON.stringify(filter)}`,
      creation: route(kind, 'gateway.networking.k8s.io/v1', { rules: [{ filters: [filter] }] }),
      refusal: 'A filter of this type',
    })),
    ...[
      '%[str(a),set-var(txn.entra.user)]',
      "%[str(a),s''et-var(txn.a)]",
      '%[\\x65nv(KEY)]',
      '"${ENTRA_AUTH_CALLER_KEY}"',
    ].map((value) => ({
      title: `${kind} with a filter of the value ${value}`,
      creation: filtered(kind, { set: [{ name: 'X-Team', value }] }),
      refusal: 'The value of a header holds an expression',
    })),
    {
      title: `${kind} with a match of a header with a quote in its name`,
      creation: route(kind, 'gateway.networking.k8s.io/v1', {
        rules: [{ matches: [{ headers: [{ name: "X-'Team'", value: 'a' }] }] }],
      }),
      refusal: 'The name of a header in a match',
    },
  ]),
  {
    title: 'an HTTPRoute with matches, a redirect and a mirror',
    creation: route('HTTPRoute', 'gateway.networking.k8s.io/v1', {
      rules: [
        {
          matches: [
            {
              path: { type: 'PathPrefix', value: '/api' },
              headers: [{ name: 'X-Version', value: '2' }],
            },
            {},
          ],
          filters: [
            { type: 'RequestRedirect', requestRedirect: { hostname: 'a.example' } },
            { type: 'RequestMirror', requestMirror: { backendRef: { name: 'copy', port: 80 } } },
          ],
        },
      ],
    }),
  },
  ...[
    { config: { mode: 'http' }, 'http-requests': [{ type: 'set-header' }] },
    { config: {}, acls: [{ acl_name: 'a' }] },
    { config: {}, description: 'a' },
    { config: { config: { description: 'a' } } },
  ].map((spec) => ({
    title: `a Backend with a config and ${JSON.stringify(spec)}`,
    creation: resource('Backend', spec, 'v1'),
    refusal: 'This field of a Backend',
  })),
  { title: 'a Gateway for HTTP', creation: gateway({ name: 'http', port: 80, protocol: 'HTTP' }) },
  {
    title: 'a Gateway for HTTPS',
    creation: gateway({
      name: 'https',
      port: 443,
      protocol: 'HTTPS',
      tls: { mode: 'Terminate', certificateRefs: [{ name: 'tls' }] },
    }),
  },
  ...[
    { name: 'tls', port: 443, protocol: 'TLS', tls: { mode: 'Passthrough' } },
    { name: 'tls', port: 443, protocol: 'TLS', tls: { mode: 'Terminate' } },
    { name: 'tcp', port: 6379, protocol: 'TCP' },
    { name: 'https', port: 443, protocol: 'HTTPS', tls: { mode: 'Passthrough' } },
  ].map((listener) => ({
    title: `a Gateway with ${JSON.stringify(listener)}`,
    creation: gateway(listener),
    refusal: 'A listener that is not HTTP or HTTPS',
  })),
  {
    title: 'a ListenerSet that adds a listener to a Gateway',
    creation: route('ListenerSet', 'gateway.networking.k8s.io/v1', {
      listeners: [{ name: 'tls', port: 443, protocol: 'TLS', tls: { mode: 'Passthrough' } }],
    }),
    refusal: 'A listener that is not HTTP or HTTPS',
  },
  ...['TCP', 'Global', 'Defaults'].flatMap((kind) =>
    ['v1', 'v3'].map((version) => ({
      title: `${kind} of ${version}`,
      creation: {
        ...resource(kind, {}, version),
        resource: kind === 'Defaults' ? 'defaults' : `${kind.toLowerCase()}s`,
      },
      refusal: 'writes HAProxy',
    })),
  ),
  {
    title: 'a kind of a later version',
    creation: { ...resource('Listener', {}), resource: 'listeners' },
    refusal: 'writes HAProxy',
  },
  { title: 'a Frontend', creation: resource('Frontend', {}), refusal: 'writes HAProxy' },
  { title: 'a Backend with a timeout', creation: resource('Backend', { server_timeout: 1000 }) },
  { title: 'a Backend of v1', creation: resource('Backend', { config: { mode: 'http' } }, 'v1') },
  ...[
    {
      http_request_rule_list: [
        { type: 'set-header', hdr_name: 'X-Auth-Request-User', hdr_format: 'admin' },
      ],
    },
    { tcp_request_rule_list: [{ type: 'content' }] },
    { mode: 'tcp' },
    { http_send_name_header: 'X-Auth-Request-User' },
    { forwardfor: { enabled: 'enabled', header: 'X-Auth-Request-User' } },
    { originalto: { enabled: 'enabled', header: 'X-Auth-Request-User' } },
    { servers: { admin: { name: 'admin', address: 'stock.shop2.svc', port: 80 } } },
    { server_templates: { s: { prefix: 's', fqdn: 'stock.shop2.svc', num_or_range: '1' } } },
  ].map((spec) => ({
    title: `a Backend with ${Object.keys(spec)}`,
    creation: resource('Backend', spec),
    refusal: 'Rules in a Backend',
  })),
  ...[{ mode: 'tcp' }, { http_send_name_header: 'X-Auth-Request-User' }].map((config) => ({
    title: `a Backend of v1 with ${Object.keys(config)}`,
    creation: resource('Backend', { config }, 'v1'),
    refusal: 'Rules in the config of a Backend',
  })),
]

const authUrl = 'haproxy-ingress.github.io/auth-url'
const verifier = 'svc://default/verifier-haproxy-entra-auth:verify/verify/orders'

/** For recipes/haproxy-ingress/admission-auth-url.yaml. */
export const authUrlCases: readonly AdmissionCase[] = [
  { title: 'auth-url of the verifier', creation: ingress({ [authUrl]: verifier }) },
  { title: 'the older prefix', creation: ingress({ 'ingress.kubernetes.io/auth-url': verifier }) },
  { title: 'a Service without annotations', creation: service() },
  { title: 'no annotation', creation: ingress({}), refusal: 'everybody reaches' },
  {
    title: 'a prefix that the controller does not read',
    creation: ingress({ 'haproxy.org/auth-url': verifier }),
    refusal: 'everybody reaches',
  },
  ...[
    '',
    ' ',
    'svc://verifier-haproxy-entra-auth:verify/verify/orders',
    'svc://shop/verifier-haproxy-entra-auth:verify/verify/orders',
    'svc://default/other:verify/verify/orders',
    'svc://default/verifier-haproxy-entra-auth:metrics/livez',
    'https://always-yes.example.com/verify/orders',
    `${verifier}/../../livez`,
    `${verifier}?policy=other`,
    'svc://default/verifier-haproxy-entra-auth:verify/verify/',
  ].map((value) => ({
    title: `auth-url: '${value}'`,
    creation: ingress({ [authUrl]: value }),
    refusal: 'auth-url must be the verifier',
  })),
  {
    title: 'a second prefix with an empty value',
    creation: ingress({ [authUrl]: verifier, 'ingress.kubernetes.io/auth-url': '' }),
    refusal: 'auth-url must be the verifier',
  },
  {
    title: 'a Service that empties it',
    creation: service({ [authUrl]: '' }),
    refusal: 'auth-url must be the verifier',
  },
  {
    title: 'the same namespace, by the short name',
    creation: {
      ...ingress({ [authUrl]: 'svc://verifier-haproxy-entra-auth:verify/verify/orders' }),
      namespace: 'default',
    },
  },
  ...['nowhere', 'Backend ', '', 'frontend', 'Frontend'].map((value) => ({
    title: `auth-external-placement: '${value}'`,
    creation: ingress({
      [authUrl]: verifier,
      'haproxy-ingress.github.io/auth-external-placement': value,
    }),
    refusal: 'auth-external-placement is',
  })),
  {
    title: 'auth-external-placement of a Service',
    creation: service({ 'ingress.kubernetes.io/auth-external-placement': 'none' }),
    refusal: 'auth-external-placement is',
  },
  ...['server-alias', 'server-alias-regex'].flatMap((name) =>
    ['haproxy-ingress.github.io/', 'ingress.kubernetes.io/'].map((prefix) => ({
      title: `${prefix}${name}, which is in no list of auth-url`,
      creation: ingress({ [authUrl]: verifier, [`${prefix}${name}`]: 'open.example.com' }),
      refusal: 'A server-alias can be reached',
    })),
  ),
  {
    title: 'auth-external-placement: backend',
    creation: ingress({
      [authUrl]: verifier,
      'haproxy-ingress.github.io/auth-external-placement': 'backend',
    }),
  },
  {
    title: 'auth-method: POST, which the verifier refuses',
    creation: ingress({ [authUrl]: verifier, 'haproxy-ingress.github.io/auth-method': 'POST' }),
    refusal: 'auth-method is GET',
  },
  ...Object.entries({
    'auth-signin': ['/login\tif\tFALSE\t#', '/login if FALSE', "/login'", '/login\n'],
    'auth-headers-fail': ["-' if !{ bool(true) -m bool } #", '-"', '\\'],
    'auth-headers-succeed': ["X-Auth-Request-*' if FALSE #"],
    'auth-headers-request': ["*' if FALSE #"],
  }).flatMap(([name, values]) =>
    values.flatMap((value) =>
      ['haproxy-ingress.github.io/', 'ingress.kubernetes.io/'].map((prefix) => ({
        title: `${prefix}${name}: ${JSON.stringify(value)}`,
        creation: ingress({ [authUrl]: verifier, [`${prefix}${name}`]: value }),
        refusal: 'auth-signin and auth-headers have',
      })),
    ),
  ),
  {
    title: 'auth-signin and lists of headers',
    creation: ingress({
      [authUrl]: verifier,
      'haproxy-ingress.github.io/auth-signin': 'https://login.example.com/start?rd=%[path]',
      'haproxy-ingress.github.io/auth-headers-succeed': 'X-Auth-Request-*,X-Team',
    }),
  },
  {
    title: 'an HTTPRoute, for which nobody is asked',
    creation: route('HTTPRoute', 'gateway.networking.k8s.io/v1', {}),
    refusal: 'asks no auth-url',
  },
]
