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

const gateway = (listener: object, gatewayClassName = 'haproxy') =>
  route('Gateway', 'gateway.networking.k8s.io/v1', { gatewayClassName, listeners: [listener] })
const resource = (kind: string, spec: object, version = 'v3') =>
  route(kind, `ingress.${version}.haproxy.org/${version}`, spec)

const prefixes = [
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
const header = 'sets a header'

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
  ...prefixes.flatMap((prefix) => [
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
  ].map((spec) => ({
    title: `a Backend with ${Object.keys(spec)}`,
    creation: resource('Backend', spec),
    refusal: 'Rules in a Backend',
  })),
  {
    title: 'a Backend of v1 in TCP mode',
    creation: resource('Backend', { config: { mode: 'tcp' } }, 'v1'),
    refusal: 'Rules in a Backend',
  },
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
  ...['nowhere', 'Backend ', ''].map((value) => ({
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
  {
    title: 'auth-method: POST, which the verifier refuses',
    creation: ingress({ [authUrl]: verifier, 'haproxy-ingress.github.io/auth-method': 'POST' }),
    refusal: 'auth-method is GET',
  },
  {
    title: 'an HTTPRoute, for which nobody is asked',
    creation: route('HTTPRoute', 'gateway.networking.k8s.io/v1', {}),
    refusal: 'asks no auth-url',
  },
]
