// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes its variables as ${NAME}, and those are what is read here
/** Configurations that each let somebody past the action, written from the attacker's side. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Config } from '../../src/config/config.ts'
import type { FindingCode } from '../../src/drift/finding.ts'
import { cleanConfig, haproxyFindings } from './fixture.ts'
import { action, configuration, guard, type Parts, usualLimits } from './protected-app.ts'

const config: Config = {
  ...cleanConfig,
  policies: cleanConfig.policies.filter(({ name }) => name === 'orders'),
}
const bothPolicies = cleanConfig

function codesIn(parts: Parts, policies = config): FindingCode[] {
  return haproxyFindings(configuration(parts), policies)
    .map(({ code }) => code)
    .filter((code) => code !== 'policy-unused')
}

const ways: readonly (readonly [name: string, expected: FindingCode, parts: Parts])[] = [
  [
    'a guard whose ACL is declared twice',
    'guard-weak',
    {
      rules: `${action}\nacl ok var(txn.entra.ok) -m bool\nacl ok src 10.0.0.0/8\nhttp-request deny unless ok`,
    },
  ],
  [
    'a public path that is turned into another',
    'path-bypass',
    {
      rules: `http-request deny if { path_sub // /./ /../ ; \\\\ % \\# } or { path_end /. /.. }\n${action} unless { path_beg /public/ }\nhttp-request deny unless { path_beg /public/ } or { var(txn.entra.ok) -m bool }\nhttp-request replace-path /public(.*) \\1`,
    },
  ],
  [
    'requests that are no valid HTTP',
    'violations-accepted',
    { frontend: 'option accept-invalid-http-request' },
  ],
  ['an application that no rule protects', 'action-missing', { rules: '' }],
  [
    'an action in a comment',
    'action-missing',
    { rules: `# ${action}\n${guard.replace(/http/, '# http')}` },
  ],
  [
    'allow for a network',
    'early-allow',
    { rules: `http-request allow if { src 10.0.0.0/8 }\n${action}\n${guard}` },
  ],
  [
    'allow for a cookie, behind the action',
    'early-allow',
    { rules: `${action}\nhttp-request allow if { req.cook(debug) -m found }\n${guard}` },
  ],
  ['allow for everybody', 'early-allow', { rules: `http-request allow\n${action}\n${guard}` }],
  [
    'a guard for browsers only',
    'guard-weak',
    {
      rules: `${action}\nhttp-request deny if { req.hdr(user-agent) -m sub Mozilla } !{ var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'a guard that a header switches off',
    'guard-weak',
    {
      rules: `${action}\nhttp-request deny unless { var(txn.entra.ok) -m bool } or { req.hdr(x-internal) -m found }`,
    },
  ],
  [
    'a guard on the reason',
    'guard-weak',
    { rules: `${action}\nhttp-request deny if { var(txn.entra.reason) -m str expired }` },
  ],
  [
    'a guard that is a header',
    'guard-missing',
    {
      rules: `${action}\nhttp-request set-header x-refused 1 unless { var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'a guard on the answer',
    'guard-missing',
    { rules: `${action}\nhttp-response deny unless { var(txn.entra.ok) -m bool }` },
  ],
  [
    'a guard of two halves with a hole between',
    'guard-weak',
    {
      rules: `${action}\nhttp-request deny if { path_beg /a } !{ var(txn.entra.ok) -m bool }\nhttp-request deny if { path_beg /b } !{ var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'an action for one method',
    'action-conditional',
    {
      rules: `${action} if METH_POST\nhttp-request deny unless { var(txn.entra.ok) -m bool } or !METH_POST`,
    },
  ],
  [
    'an action that a query switches off',
    'action-conditional',
    {
      rules: `${action} unless { url_param(preview) 1 }\nhttp-request deny unless { var(txn.entra.ok) -m bool } or { url_param(preview) 1 }`,
    },
  ],
  [
    'an action that a header switches off',
    'action-conditional',
    {
      rules: `${action} unless { req.hdr(x-health) -m found }\nhttp-request deny unless { var(txn.entra.ok) -m bool } or { req.hdr(x-health) -m found }`,
    },
  ],
  [
    'an action for one host in the frontend, and a default for the rest',
    'action-missing',
    {
      frontend: `acl o req.hdr(host) -i orders.example.com\n${action} if o\nhttp-request deny if o !{ var(txn.entra.ok) -m bool }`,
      routes: 'use_backend orders if o\ndefault_backend rest',
      rules: '',
      more: 'backend rest\n  server app 10.0.0.1:3000',
    },
  ],
  [
    'public paths whose beginning is compared without letter case',
    'path-bypass',
    {
      rules: `${action} unless { path -i /public }\nhttp-request deny unless { var(txn.entra.ok) -m bool } or { path -i /public }`,
    },
  ],
  [
    'public files by their ending',
    'path-bypass',
    {
      rules: `${action} unless { path_end .css .js }\nhttp-request deny unless { var(txn.entra.ok) -m bool } or { path_end .css .js }`,
    },
  ],
  [
    'a cache in front of the action',
    'early-cache',
    { rules: `http-request cache-use c if { path_beg /img/ }\n${action}\n${guard}` },
  ],
  ['a cache in the frontend', 'early-cache', { frontend: 'http-request cache-use c' }],
  [
    'a cache in the named defaults of the backend',
    'early-cache',
    {
      more: 'defaults cached\n  mode http\n  http-request cache-use c\nbackend more from cached\n  http-request lua.entra-auth orders\n  http-request deny unless { var(txn.entra.ok) -m bool }\n  server a 10.0.0.2:80',
    },
  ],
  [
    'a cache behind a token that is overwritten',
    'cache-shared',
    {
      rules: `${action}\n${guard}\nhttp-request set-header Authorization "Basic abc"\nhttp-request cache-use c\nhttp-response cache-store c`,
    },
  ],
  [
    'a token removed in the frontend, and a cache in the backend',
    'cache-shared',
    {
      frontend: `${action}\n${guard}\nhttp-request del-header authorization`,
      rules: 'http-request cache-use c\nhttp-response cache-store c',
    },
  ],
  [
    'a service in front of the action',
    'early-answer',
    { rules: `http-request use-service lua.report if { path /report }\n${action}\n${guard}` },
  ],
  [
    'a file in front of the action',
    'early-answer',
    {
      rules: `http-request return status 200 file /srv/data.json if { path /data }\n${action}\n${guard}`,
    },
  ],
  [
    'a service of TCP in front of the action',
    'early-answer',
    { frontend: 'tcp-request content use-service lua.report if HTTP' },
  ],
  [
    'the verdict written for a network',
    'verdict-written',
    {
      frontend: 'http-request set-var(txn.entra.ok) bool(true) if { src 10.0.0.0/8 }',
      rules: `${action} unless { var(txn.entra.ok) -m bool }\n${guard}`,
    },
  ],
  [
    'the verdict written between action and guard',
    'verdict-written',
    {
      rules: `${action}\nhttp-request set-var(txn.entra.ok) int(1) if { req.hdr(x-key) secret }\n${guard}`,
    },
  ],
  [
    'the verdict written by a converter in an ACL',
    'verdict-written',
    {
      rules: `${action}\nacl trusted src,bool,set-var(txn.entra.ok) -m found\nhttp-request deny if trusted FALSE\n${guard}`,
    },
  ],
  [
    'the user written from a header',
    'identity-overwritten',
    {
      rules: `${action}\n${guard}\nhttp-request set-header X-Auth-Request-User %[req.hdr(X-Forwarded-User)] if { req.hdr(X-Forwarded-User) -m found }`,
    },
  ],
  [
    'the user written in lower case',
    'identity-overwritten',
    { rules: `${action}\n${guard}\nhttp-request add-header x-auth-request-user admin` },
  ],
  [
    'the groups replaced',
    'identity-overwritten',
    {
      rules: `${action}\n${guard}\nhttp-request replace-value X-Auth-Request-Groups (.*) \\1,admins`,
    },
  ],
  [
    'the user written in a spelling that CGI takes for the same',
    'identity-overwritten',
    { frontend: 'http-request set-header X_Auth_Request_User %[req.hdr(x-user)]' },
  ],
  [
    'the user written in the defaults of the backend, behind an action in the frontend',
    'identity-overwritten',
    {
      frontend: `${action}\n${guard}`,
      routes: 'default_backend more',
      more: 'defaults writing\n  mode http\n  http-request set-header X-Auth-Request-User %[req.hdr(x-user)]\nbackend more from writing\n  server a 10.0.0.2:80',
    },
  ],
  [
    'the user written by haproxy-auth-request behind the action',
    'identity-overwritten',
    {
      rules: `${action}\n${guard}\nhttp-request lua.auth-intercept be /auth GET * X-Auth-Request-* -`,
    },
  ],
  [
    'headers of unknown names',
    'identity-overwritten',
    { rules: `${action}\n${guard}\nhttp-request set-headers-bin req.hdr(x-bin),b64dec` },
  ],
  [
    'identity headers that are only renamed',
    'strip-missing',
    {
      more: 'frontend other\n  bind :8443 ssl crt o.pem\n  http-request deny if METH_CONNECT\n  http-request del-header upgrade\n  http-request del-header connection\n  http-request replace-header X-Auth-Request-User .* none\n  default_backend orders',
    },
  ],
  [
    'stripping that a header switches off',
    'strip-missing',
    {
      more: 'frontend other\n  bind :8443 ssl crt o.pem\n  http-request deny if METH_CONNECT\n  http-request del-header upgrade\n  http-request del-header connection\n  http-request del-header ^x[^a-z0-9](auth[^a-z0-9]request|entra) -m reg unless { req.hdr(x-trusted) -m found }\n  default_backend orders',
    },
  ],
  [
    'CONNECT in a second frontend',
    'connect-unprotected',
    {
      more: 'frontend other\n  bind :8443 ssl crt o.pem\n  http-request del-header ^x[^a-z0-9](auth[^a-z0-9]request|entra) -m reg\n  http-request del-header upgrade\n  http-request del-header connection\n  default_backend orders',
    },
  ],
  [
    'an upgrade that stands beside websocket',
    'upgrade-unprotected',
    {
      more: 'frontend other\n  bind :8443 ssl crt o.pem\n  http-request deny if METH_CONNECT\n  http-request del-header ^x[^a-z0-9](auth[^a-z0-9]request|entra) -m reg\n  http-request del-header upgrade unless { req.hdr(upgrade) -i websocket }\n  http-request del-header connection\n  default_backend orders',
    },
  ],
  [
    'an upgrade to h2c refused, and all others passed',
    'upgrade-unprotected',
    {
      more: 'frontend other\n  bind :8443 ssl crt o.pem\n  http-request deny if METH_CONNECT\n  http-request del-header ^x[^a-z0-9](auth[^a-z0-9]request|entra) -m reg\n  http-request deny if { req.hdr(upgrade) -i h2c }\n  http-request del-header connection\n  default_backend orders',
    },
  ],
  [
    'a TCP port to the application',
    'tcp-bypass',
    { more: 'listen raw\n  mode tcp\n  bind :8444\n  server a tcp4@10.0.0.1:3000' },
  ],
  [
    'a TCP frontend and backend to the application',
    'tcp-bypass',
    {
      more: 'defaults tcp\n  mode tcp\nfrontend raw from tcp\n  bind :8444\n  default_backend rawback\nbackend rawback from tcp\n  server a 10.0.0.1:3000',
    },
  ],
  [
    'a TCP port in mode tcp by default',
    'tcp-bypass',
    {
      more: 'defaults nothing\n  timeout connect 1s\nlisten raw from nothing\n  bind :8444\n  server a 10.0.0.1:3000',
    },
  ],
  [
    'a frontend in mode tcp to the protected backend',
    'mode-not-http',
    { more: 'frontend raw\n  mode tcp\n  bind :8444\n  default_backend orders' },
  ],
  [
    'a listen section with a server of its own',
    'action-missing',
    { more: 'listen direct\n  bind :8444\n  server a 10.0.0.1:3000' },
  ],
  [
    'servers by template',
    'action-missing',
    { rules: '', server: 'server-template a 1-5 _http._tcp.orders.internal' },
  ],
  ['servers by dispatch', 'action-missing', { rules: '', server: 'dispatch 10.0.0.1:3000' }],
  ['servers that are added later', 'action-missing', { rules: '', server: 'balance leastconn' }],
  [
    'a client that names its backend',
    'verifier-routed',
    { routes: 'use_backend %[req.hdr(x-backend)]\ndefault_backend orders' },
  ],
  [
    'a client that names its backend through a variable',
    'verifier-routed',
    {
      frontend: 'http-request set-var(txn.b) req.hdr(x-backend),lower',
      routes: 'use_backend %[var(txn.b)]\ndefault_backend orders',
    },
  ],
  [
    'a client that names its backend by the path',
    'verifier-routed',
    { routes: 'use_backend %[path,field(2,/)]\ndefault_backend orders' },
  ],
  [
    'the verifier behind a TCP port',
    'metadata-open',
    { more: 'listen v\n  mode tcp\n  bind :8445\n  server v 127.0.0.1:8080' },
  ],
  [
    'the verifier for all that begins like the metadata',
    'metadata-open',
    {
      routes: 'use_backend meta if { path_beg /.well-known/ }\ndefault_backend orders',
      more: 'backend meta\n  server v localhost:8080',
    },
  ],
  [
    'Connection removed only where it names an identity header as one writes it',
    'connection-unprotected',
    {
      more: 'frontend other\n  bind :8443 ssl crt o.pem\n  http-request deny if METH_CONNECT\n  http-request del-header ^x[^a-z0-9](auth[^a-z0-9]request|entra) -m reg\n  http-request del-header upgrade\n  http-request del-header connection if { req.hdr(connection) -m sub x-auth }\n  default_backend orders',
    },
  ],
  [
    'a token of the configuration for everybody',
    'credentials-written',
    { frontend: 'http-request set-header Authorization "Bearer abc"' },
  ],
  [
    'a token of the configuration for those who have none',
    'credentials-written',
    {
      rules: `http-request add-header authorization "Bearer abc" unless { req.hdr(authorization) -m found }\n${action}\n${guard}`,
    },
  ],
  [
    'a token of the environment for everybody',
    'credentials-written',
    { frontend: 'http-request set-header authorization "Bearer ${TOKEN}"' },
  ],
  [
    'a token by address',
    'credentials-written',
    { frontend: 'http-request set-header authorization "Bearer %[src,map_ip(tokens.map)]"' },
  ],
  [
    'a token of the configuration through a variable',
    'credentials-written',
    {
      frontend:
        'http-request set-var(txn.t) str(abc)\nhttp-request set-header authorization "Bearer %[var(txn.t)]"',
    },
  ],
  [
    'a token of the process',
    'credentials-written',
    { frontend: 'http-request set-header authorization "Bearer %[var(proc.token)]"' },
  ],
  [
    'a token that replaces the one of the client',
    'credentials-written',
    { frontend: 'http-request replace-header authorization .* "Bearer abc"' },
  ],
  [
    'a rule that only the environment knows',
    'rule-unknown',
    { frontend: '"${RULE}" allow if { req.hdr(x-debug) -m found }' },
  ],
  [
    'a rule that does what only the environment knows',
    'rule-unknown',
    { rules: `http-request "\${WHAT}" if { req.hdr(x-debug) -m found }\n${action}\n${guard}` },
  ],
  [
    'a rule of TCP that does what only the environment knows',
    'rule-unknown',
    { frontend: 'tcp-request content "${WHAT}" if { req.hdr(x-debug) -m found }' },
  ],
  [
    'a rule of the defaults that does what only the environment knows',
    'rule-unknown',
    {
      routes: 'default_backend more',
      more: `defaults open\n  mode http\n  http-request "\${WHAT}" if { req.hdr(x-debug) -m found }\nbackend more from open\n  ${action}\n  ${guard}\n  server a 10.0.0.2:80`,
    },
  ],
  [
    'a list of words of the environment',
    'rule-unknown',
    { rules: `http-request "\${WHAT[*]}" if { path /x }\n${action}\n${guard}` },
  ],
  [
    'a guard that the environment turns round',
    'rule-unknown',
    {
      rules: `${action}\nhttp-request deny deny_status 503 "\${WHEN}" { var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'a guard with another way out in the environment',
    'rule-unknown',
    {
      rules: `${action}\nhttp-request deny unless { var(txn.entra.ok) -m bool } "\${OR}" { path /x }`,
    },
  ],
  [
    'a route with a condition of the environment',
    'rule-unknown',
    {
      routes: 'use_backend open "${WHEN}" { path /x }\ndefault_backend orders',
      more: `backend open\n  ${action}\n  ${guard}\n  server a 10.0.0.2:80`,
    },
  ],
  [
    'a header with a name of the environment',
    'identity-overwritten',
    { rules: `${action}\n${guard}\nhttp-request set-header "\${NAME}" %[req.hdr(x-user)]` },
  ],
  [
    'a header of which the environment knows the end of the name',
    'identity-overwritten',
    { rules: `${action}\n${guard}\nhttp-request set-header "X-Auth-\${NAME}" %[req.hdr(x-user)]` },
  ],
  ...(
    [
      ['the path of another policy', 'http-request set-path /verify/public'],
      ['a path by a pattern', 'http-request replace-path .* /verify/public'],
      [
        'a path in front of which another one stands',
        'http-request set-path /verify/public#%[path]',
      ],
      ['the address of another request', 'http-request set-uri /verify/public'],
      ['a token', 'http-request set-header Authorization "Bearer abc"'],
      ['a session', 'http-request set-header X-Entra-Auth-Session abc'],
      ['a host', 'http-request set-header X-Forwarded-Host portal.example.com'],
      ['an answer of its own', 'http-request return status 200 hdr X-Entra-Auth-Verdict allow'],
      ['a cache', 'http-request cache-use verdicts'],
      ['a store for answers', 'http-response cache-store verdicts'],
      ['a script', 'http-request lua.other'],
      ['a script behind the verifier', 'http-response lua.other'],
      ['another status', 'http-response set-status 200 if { status 401 }'],
      ['another verdict', 'http-after-response set-header X-Entra-Auth-Verdict allow'],
      ['another user', 'http-response set-header X-Auth-Request-User admin'],
      ['a longer life', 'http-response replace-value Cache-Control max-age=.* max-age=86400'],
      ['an allow on probation as a full one', 'http-response del-header x-entra-auth-report'],
      ['a filter with a script', 'filter lua.other'],
    ] as const
  ).map(
    ([what, line]) =>
      [
        `the section of the verifier with ${what}`,
        'verifier-changed',
        { limits: `${usualLimits}\n  ${line}` },
      ] as const,
  ),
  [
    'an application behind the metadata',
    'action-missing',
    {
      routes:
        'use_backend meta if { path /.well-known/oauth-protected-resource/orders }\ndefault_backend orders',
      more: 'backend meta\n  server v localhost:8080\n  server app 10.0.0.9:3000',
    },
  ],
  [
    'an application that the section of the verifier leads to as well',
    'guard-missing',
    { rules: action, limits: `${usualLimits}\n  use_backend orders if { path /x }` },
  ],
  [
    'clients that become servers of the application',
    'server-attached',
    { first: 'tcp-request session attach-srv orders/app' },
  ],
  [
    'clients that become the verifier where their certificate is optional',
    'server-attached',
    {
      bind: 'bind :443 ssl crt www.pem ca-file c.pem verify optional',
      first: 'tcp-request session attach-srv entra-verifier/v1 if { src 10.0.0.0/8 }',
    },
  ],
  [
    'ambiguous paths that a class of characters lets pass',
    'path-bypass',
    {
      rules: `http-request deny unless { path -m reg ^[[:alnum:]/]+$ }\n${action} unless { path_beg /public/ }\nhttp-request deny unless { path_beg /public/ } or { var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'ambiguous paths that a bracket with a bracket in it lets pass',
    'path-bypass',
    {
      rules: `http-request deny unless { path -m reg ^[]a-z/]+$ }\n${action} unless { path_beg /public/ }\nhttp-request deny unless { path_beg /public/ } or { var(txn.entra.ok) -m bool }`,
    },
  ],
]

const betweenPolicies: readonly (readonly [name: string, expected: FindingCode, parts: Parts])[] = [
  [
    'policies and routes by the same host, which a rule changes between the two',
    'policy-mismatch',
    {
      frontend: `acl o req.fhdr(host) -i orders.example.com\n${action} if o\nhttp-request lua.entra-auth stock unless o\n${guard}\nhttp-request set-header Host %[req.hdr(x-original-host)]`,
      routes: 'use_backend orders if o\ndefault_backend stock',
      rules: '',
      more: 'backend stock\n  server b 10.0.0.2:80',
    },
  ],
  [
    'a policy by SNI and a route by host',
    'policy-mismatch',
    {
      frontend: `${action} if { ssl_fc_sni -i orders.example.com }\nhttp-request lua.entra-auth stock unless { ssl_fc_sni -i orders.example.com }\n${guard}`,
      routes:
        'use_backend orders if { req.hdr(host) -i orders.example.com }\ndefault_backend stock',
      rules: '',
      more: 'backend stock\n  server b 10.0.0.2:80',
    },
  ],
  [
    'a policy by X-Forwarded-Host and a route by host',
    'policy-mismatch',
    {
      frontend: `${action} if { req.hdr(x-forwarded-host) -i orders.example.com }\nhttp-request lua.entra-auth stock unless { req.hdr(x-forwarded-host) -i orders.example.com }\n${guard}`,
      routes:
        'use_backend orders if { req.hdr(host) -i orders.example.com }\ndefault_backend stock',
      rules: '',
      more: 'backend stock\n  server b 10.0.0.2:80',
    },
  ],
  [
    'a policy that the client names',
    'policy-mismatch',
    {
      rules: `${action} if { req.hdr(x-policy) orders }\nhttp-request lua.entra-auth stock unless { req.hdr(x-policy) orders }\n${guard}`,
    },
  ],
  [
    'a policy by host_only and a route by a map on field(1,:)',
    'policy-mismatch',
    {
      frontend: `http-request set-var(txn.host) req.hdr(host),field(1,:),lower\nhttp-request set-var(txn.b) var(txn.host),map(hosts.map)\n${action} if { req.hdr(host),host_only -i orders.example.com }\nhttp-request lua.entra-auth stock if { req.hdr(host),host_only -i stock.example.com }\n${guard}`,
      routes: 'use_backend %[var(txn.b)]',
      rules: '',
      more: 'backend stock\n  server b 10.0.0.2:80',
    },
  ],
  [
    'policies by a path for one application',
    'path-bypass',
    {
      routes: 'use_backend stock if { path_beg /stock }\ndefault_backend orders',
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
  ],
  [
    'policies by a path, normalised',
    'path-bypass',
    {
      global: 'expose-experimental-directives',
      frontend:
        'http-request normalize-uri percent-decode-unreserved\nhttp-request normalize-uri path-merge-slashes\nhttp-request normalize-uri path-strip-dot\nhttp-request normalize-uri path-strip-dotdot full',
      routes: 'use_backend stock if { path_beg /stock }\ndefault_backend orders',
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
  ],
  [
    'policies by a path, ambiguous ones refused for some',
    'path-bypass',
    {
      frontend:
        'http-request deny if { path_sub // /./ /../ ; \\\\ % \\# } { src 10.0.0.0/8 } or { path_end /. /.. }',
      routes: 'use_backend stock if { path_beg /stock }\ndefault_backend orders',
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
  ],
  [
    'policies by a path through a map and variables',
    'path-bypass',
    {
      frontend:
        'http-request set-var(txn.p) path,lower\nhttp-request set-var(txn.b) var(txn.h),concat(,txn.p),map_beg(paths.map)',
      routes: 'use_backend %[var(txn.b)]\ndefault_backend orders',
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
  ],
  [
    'a second policy behind the first',
    'verdict-stale',
    { frontend: `http-request lua.entra-auth stock\n${guard}` },
  ],
  [
    'a second action, and a guard on the name of haproxy-auth-request',
    'verdict-stale',
    {
      rules: `http-request lua.entra-auth stock if { path_beg /stock }\nhttp-request unset-var(txn.entra.ok)\n${action}\nhttp-request deny unless { var(txn.auth_response_successful) -m bool }`,
    },
  ],
  [
    'a second policy that only some requests meet',
    'verdict-stale',
    { rules: `http-request lua.entra-auth stock\n${action} if { path_beg /admin }\n${guard}` },
  ],
]

describe('a configuration that lets somebody past', () => {
  for (const [name, expected, parts] of ways) {
    it(`is found: ${name}`, () => {
      assert.ok(codesIn(parts).includes(expected), codesIn(parts).join(', '))
    })
  }

  for (const [name, expected, parts] of betweenPolicies) {
    it(`is found: ${name}`, () => {
      const codes = codesIn(parts, bothPolicies)
      assert.ok(codes.includes(expected), codes.join(', '))
    })
  }

  it('differs from one in which nothing is found', () => {
    assert.deepEqual(codesIn({}), [])
  })

  for (const [what, parts] of Object.entries<Parts>({
    'a token that the client sends elsewhere': {
      frontend:
        'http-request set-header Authorization "Bearer %[url_param(access_token)]" if { url_param(access_token) -m found }',
    },
    'the password of the application, behind the guard': {
      rules: `${action}\n${guard}\nhttp-request set-header Authorization "Bearer abc"`,
    },
    'credentials of another scheme': {
      frontend: 'http-request set-header Authorization "Basic abc"',
    },
    'an address and a value of the environment': {
      rules: `http-request set-header x-zone "\${ZONE}"\n${action}\n${guard}\nhttp-request deny deny_status "\${STATUS}" if { src "\${NETWORK}" }`,
      server: 'server app "${ADDRESS}"',
    },
    'a header of which the environment knows the end of a name of its own': {
      rules: `${action}\n${guard}\nhttp-request set-header "X-Zone-\${NAME}" a`,
    },
    'usual rules in the section of the verifier': {
      limits: `${usualLimits}\n  http-request set-path /entra%[path]\n  http-request set-header host verifier.internal\n  http-request deny if { path /x }\n  http-request capture path len 64\n  http-response set-header strict-transport-security max-age=1\n  http-response set-header cache-control no-store\n  http-response del-header x-powered-by\n  http-request set-path /verify/x if FALSE`,
    },
    'servers that attach with a certificate': {
      bind: 'bind :443 ssl crt www.pem ca-file c.pem verify required',
      first: 'tcp-request session attach-srv orders/app',
    },
    'servers that never attach': { first: 'tcp-request session attach-srv orders/app if FALSE' },
  })) {
    it(`is not one with ${what}`, () => {
      assert.deepEqual(codesIn(parts), [])
    })
  }
})
