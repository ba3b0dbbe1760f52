/** The same mistakes as in ways-past.test.ts in other words, and what looks like one and is none. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { FindingCode } from '../../src/drift/finding.ts'
import { refuseAmbiguousPaths } from '../../src/haproxy/plain-path.ts'
import { configOf, signInFile } from '../config/fixture.ts'
import { cleanConfig, haproxyFindings } from './fixture.ts'
import { action, configuration, guard, type Parts, usualLimits } from './protected-app.ts'

const oneStrip = 'http-request del-header ^x[^a-z0-9](auth[^a-z0-9]request|entra) -m reg'
const strip = `${oneStrip}\n  http-request del-header upgrade\n  http-request del-header connection`
const stockBack = `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.2:3000`

const onePolicy = {
  ...cleanConfig,
  policies: cleanConfig.policies.filter(({ name }) => name === 'orders'),
}

/** Findings, where the configuration has the policy `orders`, or both. */
function codesIn(parts: Parts, hasBoth = false): FindingCode[] {
  return haproxyFindings(configuration(parts), hasBoth ? cleanConfig : onePolicy)
    .map(({ code }) => code)
    .filter((code) => code !== 'policy-unused')
}

const mistakes: readonly (readonly [
  name: string,
  expected: FindingCode,
  parts: Parts,
  hasBoth?: boolean,
])[] = [
  [
    'CONNECT refused behind an allow',
    'connect-unprotected',
    { first: 'http-request allow if { src 10.0.0.0/8 }' },
  ],
  [
    'CONNECT refused behind an accept of TCP',
    'connect-unprotected',
    {
      more: `frontend o\n  bind :8443 ssl crt o\n  tcp-request content accept if HTTP\n  tcp-request content reject if METH_CONNECT\n  ${strip}\n  default_backend orders`,
    },
  ],
  [
    'upgrades refused behind an allow',
    'upgrade-unprotected',
    {
      more: `frontend o\n  bind :8443 ssl crt o\n  http-request deny if METH_CONNECT\n  http-request del-header ^x[^a-z0-9](auth[^a-z0-9]request|entra) -m reg\n  http-request del-header connection\n  http-request allow if { path_beg /ws }\n  http-request deny if { req.hdr(upgrade) -m found }\n  default_backend orders`,
    },
  ],
  ['the page of statistics in the frontend', 'early-answer', { frontend: 'stats uri /stats' }],
  [
    'a file in the defaults of the frontend',
    'early-answer',
    {
      more: `defaults d\n  mode http\n  http-request return status 200 content-type text/plain file /x if { path /hi }\nfrontend o from d\n  bind :8443 ssl crt o\n  http-request deny if METH_CONNECT\n  ${strip}\n  default_backend orders`,
    },
  ],
  [
    'the exporter for Prometheus in the frontend',
    'early-answer',
    { frontend: 'http-request use-service prometheus-exporter if { path /metrics }' },
  ],
  [
    'a partial answer in the frontend',
    'early-answer',
    { frontend: 'http-request return status 206 string x if { path /x }' },
  ],
  [
    'a cache in the defaults of the frontend',
    'early-cache',
    {
      more: `defaults\n  mode http\n  http-request cache-use c\nfrontend o\n  bind :8443 ssl crt o\n  http-request deny if METH_CONNECT\n  ${strip}\n  default_backend orders`,
    },
  ],
  [
    'an agent whose variables begin like those of the action',
    'verdict-written',
    { frontend: 'filter spoe engine entra config /etc/spoe.conf' },
  ],
  [
    'the verdict written if it exists',
    'verdict-written',
    { frontend: 'http-request set-var(txn.entra.ok,ifexists) bool(true)' },
  ],
  [
    'the verdict written with the connection',
    'verdict-written',
    { frontend: 'tcp-request session set-var(txn.entra.ok) bool(true)' },
  ],
  [
    'the verdict written by a format',
    'verdict-written',
    { rules: `${action}\nhttp-request set-var-fmt(txn.entra.ok) 1 if { src 10.0.0.1 }\n${guard}` },
  ],
  [
    'the verdict written in the defaults of the backend',
    'verdict-written',
    {
      more: `defaults d\n  mode http\n  http-request set-var(txn.entra.ok) int(1)\nbackend b from d\n ${action}\n ${guard}\n server a 10.0.0.3:80`,
    },
  ],
  [
    'the verdict written by a capture',
    'verdict-written',
    { frontend: 'http-request capture src,set-var(txn.entra.ok) len 10' },
  ],
  [
    'the user written by the condition of a route',
    'verdict-written',
    {
      routes:
        'use_backend orders if { src,set-var(txn.entra.user) -m found }\n  default_backend orders',
    },
  ],
  [
    'the user written by option forwardfor',
    'identity-overwritten',
    { rules: `option forwardfor header X-Auth-Request-User\n${action}\n${guard}` },
  ],
  [
    'the user written by option originalto',
    'identity-overwritten',
    { rules: `option originalto header x-auth-request-user\n${action}\n${guard}` },
  ],
  [
    'the user written as an id of the request',
    'identity-overwritten',
    { frontend: 'unique-id-header X-Auth-Request-User' },
  ],
  [
    'the user written as the name of the server',
    'identity-overwritten',
    { rules: `http-send-name-header X-Auth-Request-User\n${action}\n${guard}` },
  ],
  [
    'groups written by a setting of the defaults',
    'identity-overwritten',
    {
      more: `defaults d\n  mode http\n  http-send-name-header X-Auth-Request-Groups\nbackend b from d\n ${action}\n ${guard}\n server a 10.0.0.3:80`,
    },
  ],
  [
    'the user written by a name with an escape',
    'identity-overwritten',
    { rules: `${action}\n${guard}\nhttp-request set-header X-Auth\\x2dRequest-User admin` },
  ],
  [
    'the user written by a name in quotes',
    'identity-overwritten',
    {
      rules: `${action}\n${guard}\nhttp-request set-header "X-Auth-Request-""User" %[req.cook(u)]`,
    },
  ],
  [
    'a map whose default is the section of the verifier',
    'verifier-routed',
    { routes: 'use_backend %[req.hdr(host),lower,map(/m,entra-verifier)]' },
  ],
  [
    'a name kept with the connection',
    'verifier-routed',
    {
      frontend: 'tcp-request session set-var(sess.b) ssl_fc_sni,lower',
      routes: 'use_backend %[var(sess.b)]\n  default_backend orders',
    },
  ],
  [
    'a name kept by a converter in a header',
    'verifier-routed',
    {
      frontend: 'http-request set-header x-b %[req.hdr(x-backend),lower,set-var(txn.b)]',
      routes: 'use_backend %[var(txn.b)]\n  default_backend orders',
    },
  ],
  [
    'a name kept by a converter in an ACL',
    'verifier-routed',
    {
      frontend:
        'acl a req.hdr(x-backend),set-var(txn.b) -m found\n  http-request set-header x-c 1 if a',
      routes: 'use_backend %[var(txn.b)]\n  default_backend orders',
    },
  ],
  [
    'the end of the name of a backend',
    'verifier-routed',
    { routes: 'use_backend entra-%[path,field(2,/)]\n  default_backend orders' },
  ],
  [
    'a name in a cookie',
    'verifier-routed',
    { routes: 'use_backend %[req.cook(b)] if { req.cook(b) -m found }\n  default_backend orders' },
  ],
  [
    'a path kept by a converter',
    'path-bypass',
    {
      frontend: 'http-request set-var(txn.h) path,lower,set-var(txn.p)',
      routes: 'use_backend stock if { var(txn.p) -m beg /stock }\n  default_backend orders',
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
    true,
  ],
  [
    'a path in a format with the host',
    'path-bypass',
    {
      frontend:
        'http-request set-var-fmt(txn.k) "%[req.hdr(host)]#%[path]"\n  http-request set-var(txn.b) var(txn.k),map_beg(m)',
      routes: 'use_backend %[var(txn.b)]\n  default_backend orders',
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
    true,
  ],
  [
    'a path in a capture',
    'path-ambiguous',
    {
      frontend: 'declare capture request len 100\n  http-request capture path id 0',
      routes: 'use_backend stock if { capture.req.hdr(0) -m beg /stock }\n  default_backend orders',
      more: stockBack,
    },
    true,
  ],
  [
    'a path in a header',
    'path-ambiguous',
    {
      frontend: 'http-request set-header x-path %[path]',
      routes: 'use_backend stock if { req.hdr(x-path) -m beg /stock }\n  default_backend orders',
      more: stockBack,
    },
    true,
  ],
  [
    'a path in the captured URI',
    'path-ambiguous',
    {
      routes: 'use_backend stock if { capture.req.uri -m beg /stock }\n  default_backend orders',
      more: stockBack,
    },
    true,
  ],
  [
    'a path with its query',
    'path-ambiguous',
    {
      routes: 'use_backend stock if { pathq -m beg /stock }\n  default_backend orders',
      more: stockBack,
    },
    true,
  ],
  [
    'a TCP port to the same port of the application',
    'tcp-bypass',
    { more: 'listen raw\n  mode tcp\n  bind :3000\n  server a 10.0.0.1' },
  ],
  [
    'a TCP port to a shifted port of the application',
    'tcp-bypass',
    { more: 'listen raw\n  mode tcp\n  bind :3000\n  server a 10.0.0.1:+0' },
  ],
  [
    'a TCP port to the name of the application with a dot',
    'tcp-bypass',
    {
      server: 'server app app.internal:3000',
      more: 'listen raw\n  mode tcp\n  bind :3001\n  server a APP.internal.:3000',
    },
  ],
  [
    'a TCP port that a map leads on',
    'tcp-bypass',
    {
      more: 'frontend raw\n  mode tcp\n  bind :8444\n  use_backend %[req.ssl_sni,map(m)]\nbackend rb\n  mode tcp\n  server a 10.0.0.1:3000',
    },
  ],
  [
    'a TCP port to a template of servers',
    'tcp-bypass',
    {
      server: 'server-template a 3 app.internal:3000',
      more: 'listen raw\n  mode tcp\n  bind :3001\n  server-template x 1-3 app.internal:3000',
    },
  ],
  [
    'a TCP port that leads wherever the client wants',
    'tcp-bypass',
    { more: 'listen raw\n  mode tcp\n  bind :3000\n  option transparent' },
  ],
  [
    'a TCP port to the address of the application in full',
    'tcp-bypass',
    {
      server: 'server app [2001:db8::1]:3000',
      more: 'listen raw\n  mode tcp\n  bind :3001\n  server x 2001:db8:0:0:0:0:0:1:3000',
    },
  ],
  [
    'a TCP port whose defaults are on top of others',
    'tcp-bypass',
    {
      more: 'defaults t\n  mode tcp\ndefaults u from t\nlisten raw from u\n  bind :3001\n  server x 10.0.0.1:3000',
    },
  ],
  [
    'a verifier with a certificate of any name',
    'verifier-plaintext',
    { verifier: 'server v1 10.0.0.9:8080 check ssl verify required ca-file ca.pem' },
  ],
  [
    'a verifier whose certificate is not verified after all',
    'verifier-plaintext',
    {
      verifier:
        'default-server ssl verify required ca-file ca.pem verifyhost v\n  server v1 10.0.0.9:8080 check verify none',
    },
  ],
  [
    'a verifier without TLS after all',
    'verifier-plaintext',
    {
      verifier:
        'default-server ssl verify required ca-file ca.pem verifyhost v\n  server v1 10.0.0.9:8080 check no-ssl',
    },
  ],
  [
    'a template of verifiers',
    'verifier-plaintext',
    { verifier: 'server-template v 3 _http._tcp.v.internal check ssl verify required ca-file x' },
  ],
  [
    'a verifier whose name is not verified after all',
    'verifier-plaintext',
    {
      verifier:
        'default-server ssl verify required ca-file ca.pem verifyhost v\n  server v1 10.0.0.9:8080 check no-verifyhost',
    },
  ],
  [
    'a verifier whose name the client gives',
    'verifier-plaintext',
    { verifier: 'server v1 10.0.0.9:8080 check ssl verify required ca-file x sni req.hdr(host)' },
  ],
  [
    'a verifier whose certificate the global section does not verify',
    'verifier-plaintext',
    {
      global: 'ssl-server-verify none',
      verifier: 'server v1 10.0.0.9:8080 check ssl ca-file x verifyhost v',
    },
  ],
  ['a server by dispatch', 'action-missing', { rules: '', server: 'dispatch 10.0.0.1:3000' }],
  [
    'a server that is disabled for now',
    'action-missing',
    { rules: '', server: 'server a 10.0.0.1:80 disabled' },
  ],
  [
    'an application of FastCGI',
    'action-missing',
    { rules: 'use-fcgi-app php', server: 'server a /run/php.sock proto fcgi' },
  ],
  [
    'a backend that only has rules',
    'action-missing',
    { rules: 'http-request set-header x-a b', server: '' },
  ],
  [
    'a limit on answers that begins too late',
    'verifier-unbounded',
    { limits: usualLimits.replace('status lt 200', 'status lt 101') },
  ],
  [
    'a limit on answers that refuses server errors only',
    'verifier-unbounded',
    { limits: usualLimits.replace('status lt 200', 'status ge 500') },
  ],
  [
    'a limit on answers that nothing reaches',
    'verifier-unbounded',
    { limits: usualLimits.replace('12288', '99999999999') },
  ],
  [
    'a limit on answers that waits for a day',
    'verifier-unbounded',
    { limits: usualLimits.replace('time 1s', 'time 1d') },
  ],
  ...(
    [
      ['waits for the body never', 'time 1s', 'time 1s if FALSE'],
      ['waits for the body of some', 'time 1s', 'time 1s if { src 192.0.2.1 }'],
      ['counts for one source', 'gt 12288 }', 'gt 12288 } { src 192.0.2.1 }'],
      ['rejects for one source', 'lt 200 }', 'lt 200 } { src 192.0.2.1 }'],
    ] as const
  ).map(
    ([what, from, to]) =>
      [
        `a limit on answers that ${what}`,
        'verifier-unbounded',
        { limits: usualLimits.replace(from, to) },
      ] as const,
  ),
  ...(
    [
      ['127.0.0.1', '2130706433'],
      ['127.0.0.1', '0x7f000001'],
      ['127.0.0.1', '[::ffff:7f00:1]'],
      ['[::1]', '[0:0:0:0:0:0:0:1]'],
      ['10.0.0.1', '0x0a000001'],
      ['10.0.0.1', '[::ffff:a00:1]'],
      ['10.0.0.1', '[0:0:0:0:0:ffff:10.0.0.1]'],
    ] as const
  ).map(
    ([one, other]) =>
      [
        `a TCP section to ${other}, which is ${one}`,
        'tcp-bypass',
        {
          server: `server app ${one}:3000`,
          more: `listen raw\n  mode tcp\n  bind :9000\n  server s ${other}:3000`,
        },
      ] as const,
  ),
  [
    'a TCP section for many ports, of which one is the application',
    'tcp-bypass',
    {
      server: 'server app 10.0.0.1:8443',
      more: 'listen raw\n  mode tcp\n  bind :8000-9000\n  server s 10.0.0.1',
    },
  ],
  [
    'a parameter of FastCGI that is an identity header',
    'identity-overwritten',
    {
      rules: `${action}\n${guard}\nuse-fcgi-app php`,
      server: 'server app 10.0.0.1:9000 proto fcgi',
      more: 'fcgi-app php\n  docroot /x\n  set-param HTTP_X_AUTH_REQUEST_USER %[req.hdr(x-user)]',
    },
  ],
  [
    'a reject behind an accept, which leaves the application open',
    'action-missing',
    {
      frontend: 'tcp-request content accept if HTTP\n  tcp-request content reject',
      rules: '',
    },
  ],
  [
    'a guard with an OR in capital letters',
    'guard-weak',
    {
      rules: `${action}\nhttp-request deny unless { var(txn.entra.ok) -m bool } OR { src 10.0.0.0/8 }`,
    },
  ],
  [
    'the verdict written by a converter whose argument stands in quotes',
    'verdict-written',
    { frontend: `http-request set-header x-a "%[src,set-var('txn.entra.ok')]"` },
  ],
  [
    'a name that the client keeps in a variable in quotes',
    'verifier-routed',
    {
      frontend: 'http-request set-var(txn.b) req.hdr(x-backend)',
      routes: `use_backend "%[var('txn.b')]"\n  default_backend orders`,
    },
  ],
  [
    'a method that a header gives',
    'connect-unprotected',
    { frontend: 'http-request set-method %[req.hdr(x-http-method-override)]' },
  ],
  [
    'a method that a parameter gives, by a variable',
    'connect-unprotected',
    {
      frontend:
        'http-request set-var(txn.m) urlp(_method),upper\n  http-request set-method %[var(txn.m)] if METH_POST',
    },
  ],
  [
    'a method that is CONNECT for some',
    'connect-unprotected',
    { rules: `http-request set-method CONNECT if { path_beg /t }\n${action}\n${guard}` },
  ],
  [
    'an upgrade copied from another header',
    'upgrade-unprotected',
    { frontend: 'http-request set-header Upgrade %[req.hdr(x-upgrade)]' },
  ],
  [
    'an upgrade that a rule asks for by itself',
    'upgrade-unprotected',
    { rules: `${action}\n${guard}\nhttp-request add-header upgrade h2c if { path_beg /g }` },
  ],
  [
    'a header Connection copied from another header',
    'connection-unprotected',
    { frontend: 'http-request set-header connection %[req.hdr(x-connection)]' },
  ],
  [
    'a header Connection with more in it',
    'connection-unprotected',
    { frontend: 'http-request add-header connection "keep-alive, %[req.hdr(x-c)]"' },
  ],
  [
    'a header Connection that names an identity header',
    'connection-unprotected',
    { frontend: 'http-request set-header connection x-auth-request-user' },
  ],
  [
    'a command socket for the network that asks for a certificate, and does without',
    'socket-open',
    { global: 'stats socket :9999 level admin ssl crt a.pem verify optional ca-file ca.pem' },
  ],
  [
    'requests with a length and chunks at once',
    'violations-accepted',
    { global: 'h1-do-not-close-on-insecure-transfer-encoding' },
  ],
  [
    'bodies that HTTP/1.0 does not know',
    'violations-accepted',
    { global: 'h1-accept-payload-with-any-method' },
  ],
  [
    'a public host beside the one of the application, in one header',
    'action-conditional',
    {
      frontend: `acl o req.hdr(host) -i o.example\n  acl p req.hdr(host) -i p.example\n  ${action} unless p\n  http-request deny unless p or { var(txn.entra.ok) -m bool }`,
      routes: 'use_backend orders if o\n  use_backend site if p',
      rules: '',
      more: 'backend site\n  # drift: ignore action-missing\n  server s 10.0.0.9:80',
    },
  ],
  [
    'a public parameter beside another one of the same name',
    'action-conditional',
    {
      frontend: `acl o url_param(app) orders\n  acl p url_param(app) site\n  ${action} unless p\n  http-request deny unless p or { var(txn.entra.ok) -m bool }`,
      routes: 'use_backend orders if o\n  use_backend site if p',
      rules: '',
      more: 'backend site\n  # drift: ignore action-missing\n  server s 10.0.0.9:80',
    },
  ],
  [
    'a policy by one of two hosts, and a route by the other',
    'policy-mismatch',
    {
      frontend: `acl o req.hdr(host) -i o.example\n  acl s req.hdr(host) -i s.example\n  ${action} if o\n  http-request lua.entra-auth stock unless o\n  ${guard}`,
      routes: 'use_backend stock if s\n  default_backend orders',
      rules: '',
      more: 'backend stock\n  server b 10.0.0.9:80',
    },
    true,
  ],
  [
    'limits on answers in mode tcp, which ignores them',
    'verifier-unbounded',
    { verifier: 'mode tcp\n  server v1 127.0.0.1:8080 check' },
  ],
  [
    'a policy in a variable that resetenv takes away',
    'policy-unknown',
    {
      global: 'setenv P orders\n  setenv Q 1\n  resetenv Q',
      rules: `http-request lua.entra-auth "\${P}"\n${guard}`,
    },
  ],
  [
    'a policy by path, and a path that is cut behind it',
    'path-bypass',
    {
      frontend: refuseAmbiguousPaths,
      rules: `${action} unless { path_beg /stock }\nhttp-request lua.entra-auth stock if { path_beg /stock }\n${guard}\nhttp-request replace-path /api(.*) \\1`,
    },
    true,
  ],
  [
    'backends by path for one server, of which one cuts the path',
    'path-bypass',
    {
      frontend: refuseAmbiguousPaths,
      routes: 'use_backend stock if { path_beg /stock }\n  default_backend orders',
      rules: `${action}\n  ${guard}\n  http-request set-path %[path,regsub(^/api,)]`,
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
    true,
  ],
  [
    'a path of the verifier in a backend for the metadata',
    'metadata-open',
    {
      routes:
        'use_backend meta if { path /.well-known/oauth-protected-resource/orders }\n  default_backend orders',
      more: 'backend meta\n  http-request set-path /verify/%[url_param(p)]\n  server v 127.0.0.1:8080',
    },
  ],
  [
    'a filter of another script',
    'identity-unclear',
    { rules: `filter lua.rewrite\n${action}\n${guard}` },
  ],
  [
    'a TCP port to the address that the client asked for',
    'tcp-bypass',
    { more: 'listen raw\n  mode tcp\n  bind :8444\n  server any 0.0.0.0:0' },
  ],
  [
    'a port that turns into HTTP in the middle',
    'mode-not-http',
    {
      more: 'frontend sw\n  mode tcp\n  bind :8444\n  tcp-request inspect-delay 5s\n  tcp-request content switch-mode http if HTTP\n  default_backend orders',
    },
  ],
  [
    'a guard under two conditions of the configuration',
    'guard-missing',
    {
      rules: `${action}\n.if version_atleast(3.0) && defined(GUARD)\n${guard}\n.endif`,
    },
  ],
  [
    'a guard for neither of two conditions',
    'guard-missing',
    {
      rules: `${action}\n.if version_atleast(3.0)\n${guard}\n.endif\n.if !version_atleast(3.0) && !defined(OPEN)\n${guard}\n.endif`,
    },
  ],
  [
    'a whole path as an exception, or a network',
    'action-conditional',
    {
      rules: `acl health path /healthz\nacl inside src 10.0.0.0/8\n${action} unless health or inside\nhttp-request deny unless health or inside or { var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'headers of unknown names between the stripping and the action',
    'identity-overwritten',
    { frontend: 'http-request add-headers-bin req.hdr(x-bin),b64dec' },
  ],
  [
    'headers that a client has removed behind the action',
    'identity-overwritten',
    { rules: `${action}\n${guard}\nhttp-request del-headers-bin req.hdr(x-less)` },
  ],
  [
    'a TCP port to the address in the same variable',
    'tcp-bypass',
    {
      server: 'server app "$APP"',
      more: 'listen raw\n  mode tcp\n  bind :8444\n  server a "$APP"',
    },
  ],
  [
    'an upgrade to WebSocket that is turned into another',
    'upgrade-unprotected',
    { frontend: 'http-request replace-header Upgrade .* h2c' },
  ],
  [
    'a policy by the host, and a route by the host that the client says there was',
    'policy-mismatch',
    {
      frontend: `acl s req.hdr(host) -i s.example\n  ${action} unless s\n  http-request lua.entra-auth stock if s\n  ${guard}`,
      routes:
        'use_backend stock if { req.hdr(x-forwarded-host) -i s.example }\n  default_backend orders',
      rules: '',
      more: 'backend stock\n  server b 10.0.0.9:80',
    },
    true,
  ],
  [
    'a policy by the host, and a map of another host',
    'policy-mismatch',
    {
      frontend: `acl s req.hdr(host) -i s.example\n  ${action} unless s\n  http-request lua.entra-auth stock if s\n  ${guard}`,
      routes: 'use_backend %[req.hdr(x-original-host),lower,map(/m,orders)]',
      rules: '',
      more: 'backend stock\n  server b 10.0.0.9:80',
    },
    true,
  ],
  [
    'backends by a path that a header brings behind the refusal',
    'path-bypass',
    {
      frontend: `${refuseAmbiguousPaths}\n  http-request set-path %[req.hdr(x-original-url)]`,
      routes: 'use_backend stock if { path_beg /stock }\n  default_backend orders',
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
    true,
  ],
]

const harmless: readonly (readonly [name: string, parts: Parts, hasBoth?: boolean])[] = [
  [
    'one ACL on action, guard and route',
    {
      frontend: `acl o req.hdr(host) -i a.example\n  ${action} if o\n  http-request deny if o !{ var(txn.entra.ok) -m bool }`,
      routes: 'use_backend orders if o',
      rules: '',
    },
  ],
  [
    'a guard with the converter bool',
    { rules: `${action}\nhttp-request deny unless { var(txn.entra.ok),bool }` },
  ],
  [
    'a guard on the number one',
    { rules: `${action}\nhttp-request deny unless { var(txn.entra.ok) -m int 1 }` },
  ],
  [
    'a guard on a number that is equal to one',
    { rules: `${action}\nhttp-request deny unless { var(txn.entra.ok) -m int eq 1 }` },
  ],
  [
    'a redirect as the guard',
    {
      rules: `${action}\nhttp-request redirect location /login unless { var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'a redirect as the guard, by return',
    {
      rules: `${action}\nhttp-request return status 302 hdr location /l unless { var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'a redirect as the guard, in the old form',
    { rules: `${action}\nredirect location /login unless { var(txn.entra.ok) -m bool }` },
  ],
  [
    'a port that redirects to https',
    {
      more: 'frontend plain\n  bind :80\n  http-request redirect scheme https code 301\n  default_backend orders',
    },
  ],
  [
    'a port that redirects to https without TLS',
    {
      more: 'frontend plain\n  bind :80\n  http-request redirect scheme https unless { ssl_fc }\n  default_backend orders',
    },
  ],
  [
    'a command socket for whoever has a certificate',
    { global: 'stats socket :9999 level admin ssl crt a.pem verify required ca-file ca.pem' },
  ],
  [
    'a port that redirects to https in the old form',
    {
      more: 'frontend plain\n  bind :80\n  redirect scheme https if !{ ssl_fc }\n  default_backend orders',
    },
  ],
  [
    'a port that redirects to a whole address',
    {
      more: 'frontend plain\n  bind :80\n  http-request redirect location https://%[hdr(host)]%[capture.req.uri] code 308\n  default_backend orders',
    },
  ],
  [
    'two ports, of which one redirects by its number',
    {
      bind: 'bind :80\n  bind :443 ssl crt x',
      first: 'http-request redirect scheme https if { dst_port 80 }',
    },
  ],
  [
    'two ports, of which one redirects by a prefix',
    {
      bind: 'bind :80\n  bind :443 ssl crt x',
      first: 'http-request redirect prefix https://www.example code 301 unless { ssl_fc }',
    },
  ],
  [
    'an accept of TCP in front of the rules',
    { frontend: 'tcp-request inspect-delay 5s\n  tcp-request content accept if HTTP' },
  ],
  [
    'sections for logs',
    {
      more: 'backend logs\n  mode log\n  server l udp@10.0.0.5:514\nring r\n  format rfc5424\n  server s 10.0.0.5:6514\nlog-forward f\n  bind :514\n  log ring@r local0',
    },
  ],
  ['a backend of agents', { more: 'backend agents\n  mode spop\n  server l 10.0.0.5:12345' }],
  [
    'another service in mode tcp',
    {
      more: 'frontend ssh\n  mode tcp\n  bind :22\n  tcp-request inspect-delay 5s\n  tcp-request content accept if { req.len 0 }\n  default_backend ssh\nbackend ssh\n  mode tcp\n  server s 10.0.0.1:22 check',
    },
  ],
  [
    'a backend that is a table',
    { more: 'backend st\n  stick-table type ip size 1m expire 1h store gpc0' },
  ],
  [
    'peers on the host of the application',
    { more: 'peers p\n  bind :10000\n  server a 10.0.0.1:3000\n  server local' },
  ],
  [
    'a section for statistics',
    {
      more: 'listen stats\n  bind 127.0.0.1:8404\n  stats enable\n  stats uri /\n  http-request use-service prometheus-exporter if { path /metrics }',
    },
  ],
  [
    'quotes around words',
    {
      rules: `"http-request" 'lua.entra-auth' "orders"\nhttp-request deny deny_status 503 unless {  "var(txn.entra.ok)"  -m bool  }`,
    },
  ],
  [
    'rules on the answer',
    {
      rules: `${action}\n${guard}\nhttp-after-response set-header x-user %[var(txn.entra.user)]\nhttp-response set-header x-auth-request-user x`,
    },
  ],
  ['a section of error files', { more: 'http-errors e\n  errorfile 503 /x.http' }],
  [
    'whole paths as an exception',
    {
      rules: `acl pub path /healthz /livez\n${action} if !pub\nhttp-request deny if !pub !{ var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'a backend for outages',
    {
      routes: 'use_backend sorry if { nbsrv(orders) lt 1 }\n  default_backend orders',
      more: 'backend sorry\n  http-request return status 503 string sorry',
    },
  ],
  [
    'a user copied for the log',
    {
      rules: `${action}\n${guard}\nhttp-request set-var(txn.user) var(txn.entra.user)\nhttp-request set-header x-user %[var(txn.user)]`,
    },
  ],
  [
    'limits and lists in the frontend',
    {
      frontend:
        'http-request deny if { src -f /etc/blocked.lst }\n  http-request tarpit if { sc_http_req_rate(0) gt 100 }',
    },
  ],
  [
    'hosts in a map through a variable',
    {
      frontend: 'http-request set-var(txn.b) req.hdr(host),lower,map_str(/m)',
      routes: 'use_backend %[var(txn.b)] if { var(txn.b) -m found }\n  default_backend none',
      more: `backend none\n  http-request deny deny_status 404\n${stockBack}`,
    },
    true,
  ],
  [
    'hosts in a map with a default',
    { routes: 'use_backend %[req.hdr(host),lower,map_dom(/m,orders)]', more: stockBack },
    true,
  ],
  [
    'certificates over plain HTTP',
    {
      more: 'frontend plain\n  bind :80\n  http-request redirect scheme https unless { path_beg /.well-known/acme-challenge/ }\n  use_backend acme if { path_beg /.well-known/acme-challenge/ }\nbackend acme\n  # drift: ignore action-missing\n  server a 127.0.0.1:8402',
    },
  ],
  [
    'a route for what the action has allowed, and an answer for the rest',
    {
      frontend: action,
      routes: 'use_backend orders if { var(txn.entra.ok) -m bool }\n  default_backend denied',
      rules: '',
      more: 'backend denied\n  http-request deny deny_status 403',
    },
  ],
  [
    'a route for the rest, and the application by default',
    {
      frontend: action,
      routes: 'use_backend denied unless { var(txn.entra.ok) -m bool }\n  default_backend orders',
      rules: '',
      more: 'backend denied\n  http-request deny deny_status 403',
    },
  ],
  [
    'two hosts with a policy each in the frontend',
    {
      frontend: `acl o req.hdr(host) -i o.example\n  acl s req.hdr(host) -i s.example\n  ${action} if o\n  http-request lua.entra-auth stock if s\n  http-request deny if o !{ var(txn.entra.ok) -m bool } or s !{ var(txn.entra.ok) -m bool }`,
      routes: 'use_backend orders if o\n  use_backend stock if s',
      rules: '',
      more: 'backend stock\n  server b 10.0.0.9:80',
    },
    true,
  ],
  [
    'a public host, where a list of hosts is refused',
    {
      frontend: `http-request deny deny_status 400 if { req.hdr_cnt(host) gt 1 }\n  acl o req.hdr(host) -i o.example\n  acl p req.hdr(host) -i p.example\n  ${action} unless p\n  http-request deny unless p or { var(txn.entra.ok) -m bool }`,
      routes: 'use_backend orders if o\n  use_backend site if p',
      rules: '',
      more: 'backend site\n  # drift: ignore action-missing\n  server s 10.0.0.9:80',
    },
  ],
  [
    'the methods that a header may give in a list',
    {
      frontend:
        'http-request set-method %[req.hdr(x-http-method-override)] if METH_POST { req.hdr(x-http-method-override) PUT PATCH DELETE }',
    },
  ],
  [
    'CONNECT refused behind the rule that sets the method',
    {
      frontend:
        'http-request set-method %[req.hdr(x-http-method-override)] if { req.hdr(x-http-method-override) -m found }\n  http-request deny deny_status 405 if METH_CONNECT',
    },
  ],
  [
    'WebSocket asked for by the value of the client',
    {
      frontend:
        'http-request set-header upgrade %[var(txn.up)] if { var(txn.up) -m str -i websocket }\n  http-request set-header connection Upgrade if { var(txn.up) -m found }',
    },
  ],
  [
    'a section that is disabled',
    { more: 'listen raw\n  disabled\n  mode tcp\n  bind :8444\n  server a 10.0.0.1:3000' },
  ],
  [
    'the answer to a certificate authority',
    {
      frontend: `http-request return status 200 content-type text/plain lf-string "%[path,field(-1,/)].%[env(THUMBPRINT)]\\n" if { path_beg /.well-known/acme-challenge/ }`,
    },
  ],
  [
    'a fixed beginning before the path of two policies',
    {
      frontend: refuseAmbiguousPaths,
      rules: `${action} unless { path_beg /stock }\nhttp-request lua.entra-auth stock if { path_beg /stock }\n${guard}\nhttp-request set-path /shop%[path]`,
    },
    true,
  ],
  [
    'backends by path with servers of their own, which cut the path',
    {
      frontend: refuseAmbiguousPaths,
      routes: 'use_backend stock if { path_beg /stock }\n  default_backend orders',
      rules: `${action}\n  ${guard}\n  http-request replace-path /orders(.*) \\1`,
      more: `${stockBack}\n  http-request set-path %[path,regsub(^/stock,)]`,
    },
    true,
  ],
  [
    'one path of the metadata for all hosts',
    {
      routes:
        'use_backend meta if { path /.well-known/oauth-protected-resource }\n  default_backend orders',
      more: 'backend meta\n  http-request set-path /.well-known/oauth-protected-resource/orders\n  server v 127.0.0.1:8080',
    },
  ],
  [
    'the user copied through a variable',
    {
      rules: `${action}\n${guard}\nhttp-request set-var(txn.user) var(txn.entra.user)\nhttp-request set-header X-Auth-Request-User %[var(txn.user)]`,
    },
  ],
  [
    'TLS that is told apart by its name, in front of the frontend',
    {
      more: 'frontend tls\n  mode tcp\n  bind :8444\n  tcp-request inspect-delay 5s\n  tcp-request content accept if { req.ssl_hello_type 1 }\n  use_backend here if { req.ssl_sni -i www.example.com }\n  default_backend there\nbackend here\n  mode tcp\n  server h 127.0.0.1:8443 send-proxy-v2\nbackend there\n  mode tcp\n  server o 10.0.0.99:443',
    },
  ],
  [
    'branches that together hold the action once',
    {
      rules: `.if version_atleast(3.1) && defined(X)\n${action}\n.elif version_atleast(3.1)\n${action}\n.endif\n.if version_before(3.1) || strneq("a","a") && !(defined(X) || defined(Y))\n${guard}\n.else\n${guard}\n.endif\n.if !version_atleast(3.1)\n${action}\n.endif\n${guard}`,
    },
  ],
  [
    'a whole path as an exception, for one method',
    {
      rules: `acl health path /healthz\n${action} unless health METH_GET\nhttp-request deny unless health METH_GET or { var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'a whole path as an exception, for one network',
    {
      rules: `acl health path /healthz\nacl inside src 10.0.0.0/8\n${action} if !health or !inside\nhttp-request deny if !health !{ var(txn.entra.ok) -m bool } or !inside !{ var(txn.entra.ok) -m bool }`,
    },
  ],
  [
    'a backend for WebSocket beside policies by host',
    {
      frontend: `acl s req.hdr(host) -i s.example\n  ${action} unless s\n  http-request lua.entra-auth stock if s\n  ${guard}`,
      routes: 'use_backend live if { req.hdr(upgrade) -m found }\n  default_backend orders',
      rules: '',
      more: 'backend live\n  server b 10.0.0.9:80',
    },
    true,
  ],
  [
    'a header Connection of the client that is replaced',
    { frontend: 'http-request replace-header connection .* close' },
  ],
  [
    'backends by a path that a header brings before the refusal',
    {
      frontend: `http-request set-path %[req.hdr(x-original-url)]\n  ${refuseAmbiguousPaths}`,
      routes: 'use_backend stock if { path_beg /stock }\n  default_backend orders',
      more: `backend stock\n  http-request lua.entra-auth stock\n  ${guard}\n  server b 10.0.0.1:3000`,
    },
    true,
  ],
]
describe('a mistake in other words', () => {
  for (const [name, expected, parts, hasBoth] of mistakes) {
    it(`is found: ${name}`, () => {
      const codes = codesIn(parts, hasBoth)
      assert.ok(codes.includes(expected), codes.join(', '))
    })
  }

  it('is found where a policy takes sessions, and the cache of HAProxy the answers', async () => {
    const config = await configOf(signInFile)
    const parts = {
      rules: `${action}\n${guard}\nhttp-request cache-use c\nhttp-response cache-store c`,
    }
    const codes = haproxyFindings(configuration(parts), config).map(({ code }) => code)
    assert.ok(codes.includes('cache-shared'), codes.join(', '))
    assert.deepEqual(codesIn(parts), [])
  })
})

describe('headers and variables that lead to each other in a circle', () => {
  const circles: Readonly<Record<string, (from: string, to: string) => string>> = {
    headers: (from, to) => `http-request set-header x-${to} %[req.hdr(x-${from})]`,
    variables: (from, to) => `http-request set-var(txn.${to}) var(txn.${from})`,
  }
  for (const [what, copy] of Object.entries(circles)) {
    it(`are followed to an end, and found as a short circle is: ${what}`, () => {
      const by = what === 'headers' ? 'req.hdr(x-a)' : 'var(txn.a)'
      const codesOf = (rounds: number) => {
        const rules = Array.from({ length: rounds }, (_, i) =>
          [copy('a', 'b'), copy('b', 'a')].map((rule) => `${rule} if { path_beg /${i} }`),
        )
        return codesIn({
          frontend: rules.flat().join('\n'),
          routes: `use_backend %[${by}]\ndefault_backend orders`,
        })
      }
      // A client chooses the header; nothing sets the variable.
      assert.deepEqual(codesOf(1), what === 'headers' ? ['verifier-routed'] : [])
      assert.deepEqual(codesOf(10), codesOf(1))
    })
  }
})

describe('what looks like a mistake', () => {
  for (const [name, parts, hasBoth] of harmless) {
    it(`is none: ${name}`, () => {
      assert.deepEqual(codesIn(parts, hasBoth), [])
    })
  }
})
