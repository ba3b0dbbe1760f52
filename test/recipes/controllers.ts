/**
 * What the ingress controllers write around the snippets of the recipes: their own expressions for host,
 * path and backend, in their order. After the templates of kubernetes-ingress 3.2 and of haproxy-ingress
 * 0.15. The lines of an annotation, or of a filter of an HTTPRoute, stand where the controllers have them:
 * in the frontend before the snippet, or in the backend.
 */
import { parse } from 'yaml'
import { recipeFile } from './recipe-files.ts'

/** A host, and the policy of the same name as its backend. */
export interface Route {
  readonly host: string
  readonly policy: string
  /** Another host, by an annotation of the Ingress or a filter of the HTTPRoute. */
  readonly setHost?: string
}

export interface Controller {
  readonly name: string
  /** The page whose lines choose a policy by host. */
  readonly page: string
  /** Map files by name, and the configuration with `MAPS/` where they are. */
  readonly write: (
    routes: readonly Route[],
    application: string,
    actions: string,
  ) => { readonly maps: Readonly<Record<string, string>>; readonly configs: readonly string[] }
}

const { controller: ingress } = parse(recipeFile('kubernetes-ingress/values.yaml'))
const { controller: community } = parse(recipeFile('haproxy-ingress/values.yaml'))

/** The snippet with other lines in place of the one that runs the action. */
function choose(snippet: string, actions: string): string {
  const text = snippet.replace(/^http-request lua\.entra-auth orders$/m, () => actions.trimEnd())
  if (text === snippet) throw new Error('the recipe runs no action')
  return margin(text)
}

function margin(text: string): string {
  return text.trimEnd().replaceAll(/^(?=.)/gm, '    ')
}

const timeouts = `
    timeout http-request 5s
    timeout connect 5s
    timeout client 50s
    timeout queue 5s
    timeout server 50s`

export const controllers: readonly Controller[] = [
  {
    name: 'kubernetes-ingress',
    page: 'docs/recipes/kubernetes-ingress.md',
    write: (routes, application, actions) => ({
      maps: {
        'host.map': routes.map(({ host }) => `${host} ${host}\n`).join(''),
        'path-prefix.map': routes
          .map(
            ({ host, policy, setHost }) =>
              `${host}/ default_${policy}_http.${setHost === undefined ? 'x' : `sets-${policy}`}\n`,
          )
          .join(''),
      },
      configs: [
        `global
    default-path config
    log stdout format raw local0 notice
${margin(ingress.config['global-config-snippet'])}

defaults haproxytech
    log global${timeouts}

frontend http from haproxytech
    mode http
    bind "\${ENTRA_AUTH_BIND}"
    monitor-uri /haproxy-livez
    http-request set-var(txn.base) base
    http-request set-var(txn.path) path
    http-request set-var(txn.host) req.hdr(Host),field(1,:),lower
    http-request set-var(txn.host_match) var(txn.host),map(MAPS/host.map)
    http-request set-var(txn.host_match) var(txn.host),regsub(^[^.]*,,),map(MAPS/host.map,'') if !{ var(txn.host_match) -m found }
    http-request set-var(txn.path_match) var(txn.host_match),concat(,txn.path,),map_beg(MAPS/path-prefix.map)
    # The annotations rate-limit-requests and rate-limit-period of an Ingress.
    http-request track-sc0 src table RateLimit-1000 if { var(txn.path_match) -m found }
    http-request deny deny_status 403 if { sc0_http_req_rate(RateLimit-1000) gt 100000 }
${routes
  .filter(({ setHost }) => setHost)
  .map(
    ({ policy, setHost }) =>
      `    http-request set-header Host ${setHost} if { var(txn.path_match) -m dom sets-${policy} }`,
  )
  .join('\n')}
${choose(ingress.config['frontend-config-snippet'], actions)}
    use_backend %[var(txn.path_match),field(1,.)]
    default_backend haproxy-controller_default-local-service_http

backend RateLimit-1000 from haproxytech
    mode http
    stick-table type ip size 100k expire 1s store http_req_rate(1s)

backend haproxy-controller_default-local-service_http from haproxytech
    mode http
    http-request set-header x-backend default
    server SRV_1 ${application}
${routes
  .map(
    ({ policy }) => `
backend default_${policy}_http from haproxytech
    mode http
    option forwardfor
    http-request set-header x-backend ${policy}
    server SRV_1 ${application} enabled
`,
  )
  .join('')}`,
        ingress.auxiliaryConfig,
      ],
    }),
  },
  {
    name: 'haproxy-ingress',
    page: 'docs/recipes/haproxy-ingress.md',
    write: (routes, application, actions) => ({
      maps: {
        '_front_http_host__prefix.map': routes
          .map(({ host, policy }) => `${host}#/ default_${policy}_80\n`)
          .join(''),
      },
      configs: [
        `global
    log stdout format raw local0 notice
${margin(community.config['config-global']).replace(/^ +setenv ENTRA_AUTH_LUA_FILE .*\n/m, '')}

defaults
    log global
    option redispatch${timeouts}

${community.config['config-sections']}
${routes
  .map(
    ({ policy, setHost }) => `
backend default_${policy}_80
    mode http
    # The annotation limit-rps.
    stick-table type ip size 200k expire 5m store conn_cur,conn_rate(1s)
    http-request track-sc1 src
    http-request deny deny_status 403 if { sc1_conn_rate gt 100000 }
    http-request set-header x-backend ${policy}
${setHost === undefined ? '' : `    http-request set-header host ${setHost}\n`}    server srv001 ${application} weight 1
`,
  )
  .join('')}
backend _error404
    mode http
    http-request set-header x-backend default
    server srv001 ${application} weight 1

frontend _front_http
    mode http
    bind "\${ENTRA_AUTH_BIND}"
    monitor-uri /haproxy-livez
    http-request set-var(req.path) path
    http-request set-var(req.host) hdr(host),field(1,:),lower
    http-request set-var(req.base) var(req.host),concat(\\#,req.path)
    http-request set-header X-Forwarded-Proto http
    http-request set-var(req.backend) var(req.base),map_beg(MAPS/_front_http_host__prefix.map)
${choose(community.config['config-frontend-late'], actions)}
    use_backend %[var(req.backend)] if { var(req.backend) -m found }
    default_backend _error404
`,
      ],
    }),
  },
  {
    name: 'haproxy-ingress with the Gateway API',
    page: 'docs/recipes/haproxy-ingress.md',
    write: (routes, application, actions) => ({
      maps: {
        '_front_http_host__prefix.map': routes
          .flatMap((route) => httpRouteOf(route).spec.hostnames.map((host) => ({ ...route, host })))
          .map(({ host, policy }) => `${host}#/ default_${policy}__rule0\n`)
          .join(''),
      },
      configs: [
        `global
    log stdout format raw local0 notice
${margin(community.config['config-global']).replace(/^ +setenv ENTRA_AUTH_LUA_FILE .*\n/m, '')}

defaults
    log global
    option redispatch${timeouts}

${community.config['config-sections']}
${routes
  .map(
    (route) => `
backend default_${route.policy}__rule0
    mode http
    http-request set-header x-backend ${route.policy}
${filterLines(httpRouteOf(route))}
    server srv001 ${application} weight 1
`,
  )
  .join('')}
backend _error404
    mode http
    http-request set-header x-backend default
    server srv001 ${application} weight 1

# The listener of the Gateway with the protocol HTTP, then the one with HTTPS and tls.mode Terminate.
frontend _front_http
    mode http
    bind "\${ENTRA_AUTH_BIND}"
    monitor-uri /haproxy-livez
    http-request set-var(req.path) path
    http-request set-var(req.host) hdr(host),field(1,:),lower
    http-request set-var(req.base) var(req.host),concat(\\#,req.path)
    http-request set-header X-Forwarded-Proto http
    http-request set-var(req.backend) var(req.base),map_dir(MAPS/_front_http_host__prefix.map)
${choose(community.config['config-frontend-late'], actions)}
    use_backend %[var(req.backend)] if { var(req.backend) -m found }
    default_backend _error404

frontend _front_https
    mode http
    bind "\${TEST_TLS_BIND}" ssl alpn h2,http/1.1 crt MAPS/tls.pem
    http-request set-var(req.path) path
    http-request set-var(req.host) hdr(host),field(1,:),lower
    http-request set-var(req.base) var(req.host),concat(\\#,req.path)
    http-request set-var(req.hostbackend) var(req.base),map_dir(MAPS/_front_http_host__prefix.map)
    http-request set-header X-Forwarded-Proto https
${choose(community.config['config-frontend-late'], actions)}
    use_backend %[var(req.hostbackend)] if { var(req.hostbackend) -m found }
    default_backend _error404
`,
      ],
    }),
  },
]

/** An HTTPRoute with the filters that the controller reads. */
export function httpRouteOf({ host, policy, setHost }: Route) {
  const set = [
    { name: 'X-Team', value: 'shop' },
    ...(setHost === undefined ? [] : [{ name: 'Host', value: setHost }]),
  ]
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'HTTPRoute',
    metadata: { name: policy, namespace: 'default' },
    spec: {
      parentRefs: [{ name: 'web' }],
      hostnames: [host],
      rules: [
        {
          matches: [{ path: { type: 'PathPrefix', value: '/' } }],
          filters: [
            {
              type: 'RequestHeaderModifier',
              requestHeaderModifier: {
                set,
                add: [{ name: 'X-Way', value: 'gateway' }],
                remove: ['Authorization'],
              },
            },
          ],
          backendRefs: [{ name: policy, port: 80 }],
        },
      ],
    },
  }
}

function filterLines({ spec }: ReturnType<typeof httpRouteOf>): string {
  return spec.rules
    .flatMap(({ filters }) => filters)
    .flatMap(({ requestHeaderModifier: { set, add, remove } }) => [
      ...set.map(({ name, value }) => `    http-request set-header ${name} ${value}`),
      ...add.map(({ name, value }) => `    http-request add-header ${name} ${value}`),
      ...remove.map((name) => `    http-request del-header ${name}`),
    ])
    .join('\n')
}
