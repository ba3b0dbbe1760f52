/** What HAProxy reads in each recipe; an ingress controller's own lines in the shape of its template. */
import { parse } from 'yaml'
import { indent, printedLines, recipeFile, sidecarConfig } from './recipe-files.ts'

/** The parts of a recipe that hold HAProxy lines. */
export interface Snippets {
  readonly global: string
  readonly verifier: string
  readonly frontend: string
}

export interface Recipe {
  readonly name: string
  readonly verifierConfig: string
  /** The files that HAProxy reads. */
  readonly files: () => Promise<string[]>
  /** What drift reports of the controller's own lines; the page says why it is right as it is. */
  readonly accepted?: readonly string[]
  /** Absent where all lines are ours. */
  readonly snippets?: Snippets
}

/** The values of the controllers, of HAProxy Technologies and of the community. */
export const ingress = parse(recipeFile('kubernetes-ingress/values.yaml')).controller
const kubernetesIngress: Snippets = {
  global: ingress.config['global-config-snippet'],
  verifier: ingress.auxiliaryConfig,
  frontend: ingress.config['frontend-config-snippet'],
}
export const community = parse(recipeFile('haproxy-ingress/values.yaml')).controller
const haproxyIngress: Snippets = {
  global: community.config['config-global'],
  verifier: community.config['config-sections'],
  frontend: community.config['config-frontend-late'],
}

const log = 'log stdout format raw local0 notice'
const logFormat = 'log-format "user=%[var(txn.entra.user)] reason=%[var(txn.entra.reason)]"'

/** Each recipe with a configuration of HAProxy. */
export const recipes: readonly Recipe[] = [
  {
    name: 'vm',
    verifierConfig: recipeFile('vm/config.yaml'),
    files: async () => [await printedLines(recipeFile('vm/config.yaml'))],
  },
  {
    name: 'haproxy-chart',
    verifierConfig: sidecarConfig,
    files: async () => [await printedLines(sidecarConfig)],
  },
  {
    name: 'kubernetes-ingress',
    snippets: kubernetesIngress,
    verifierConfig: sidecarConfig,
    accepted: ['zero-warning-missing', 'noreuseport-missing'],
    files: async () => [
      `global
    default-path config
    ${log}
${indent(kubernetesIngress.global)}

defaults haproxytech
    log global
    timeout http-request 5000
    timeout connect 5000
    timeout client 50000
    timeout queue 5000
    timeout server 50000
    timeout tunnel 3600000

frontend www from haproxytech
    bind "\${ENTRA_AUTH_BIND}"
    mode http
    ${logFormat}
    http-request set-var(txn.base) base
    http-request set-var(txn.path_match) str(default_orders_http)
${indent(kubernetesIngress.frontend)}
    use_backend %[var(txn.path_match),field(1,.)]

backend default_orders_http from haproxytech
    mode http
    option forwardfor
    server SRV_1 127.0.0.1:3000 enabled
`,
      kubernetesIngress.verifier,
    ],
  },
  {
    name: 'haproxy-ingress',
    snippets: haproxyIngress,
    verifierConfig: sidecarConfig,
    accepted: ['zero-warning-missing', 'noreuseport-missing'],
    files: async () => [
      `global
    ${log}
${indent(haproxyIngress.global)}

defaults
    log global
    option redispatch
    timeout http-request 5s
    timeout connect 5s
    timeout client 50s
    timeout queue 5s
    timeout server 50s
    timeout tunnel 1h

${haproxyIngress.verifier}

frontend www
    mode http
    bind "\${ENTRA_AUTH_BIND}"
${indent(haproxyIngress.frontend)}
    ${logFormat}
    use_backend default_orders_8080

backend default_orders_8080
    mode http
    balance roundrobin
    http-response set-header Strict-Transport-Security max-age=15768000
    server srv001 127.0.0.1:3000 weight 1
`,
    ],
  },
]
