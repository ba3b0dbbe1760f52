import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import { helms, template } from './render.ts'

const tenants = '{ tenants: { contoso: 11111111-1111-4111-8111-111111111111 } }'
const policies =
  '{ policies: { orders: { audiences: [a], allow: [{ actor: user, scopes: any }] } } }'
const signIn = '{ signIn: { clientId: 33333333-3333-4333-8333-333333333333, hosts: [p.example] } }'
const signInBy = signIn.replace(
  'hosts',
  'credential: { managedIdentity: system }, sealingKeys: /s, hosts',
)
const byCertificate = 'signIn: { certificate: { existingSecret: c } }'
const key = '{ existingSecret: keys }'
const vault = 'enabled: true, existingSecretProviderClass: c'
const shut = 'networkPolicy: { enabled: true, verifyFrom: [{ podSelector: {} }] }\n'
/** A network policy with rules for what goes out. */
const letOut = (rules: string) => shut.replace(' }\n', `, extraEgress: [${rules}] }\n`)
const store = 'store: { url: "redis://valkey.data.svc" }'
const collector = (url: string) =>
  `extraEnv: [{ name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "${url}" }]`
const farAuthority =
  'tenantId: ""\nconfig: { tenants: { a: { id: 11111111-1111-4111-8111-111111111111, authority: "https://login.example:8443" } } }'
const byIdentity = `config: ${signInBy}`

/** Values that contradict each other, beside tenantId and audience, and how the sentence begins. */
const contradictions = [
  ['existingConfigMap: { name: c }', 'existingConfigMap is the whole configuration'],
  [
    'existingConfigMap: { name: c }\ntenantId: ""\naudience: []\nconfig: { cloud: china }',
    'existingConfigMap is the whole configuration',
  ],
  [`config: ${tenants}`, 'tenantId and config.tenants both name the tenants'],
  [`config: ${policies}`, 'audience and config.policies both make policies'],
  ['image: { repository: "" }', 'There is no public image: set image.repository'],
  [`config: ${signIn}`, 'Sign-in has no credential'],
  [
    `config: ${signIn}\nsignIn: { certificate: { existingSecret: c }, federatedToken: { enabled: true } }`,
    'Sign-in has more than one credential',
  ],
  [
    `config: ${signInBy}\nsignIn: { sealingKeys: { existingSecret: s } }`,
    'signIn.sealingKeys.existingSecret and config.signIn.sealingKeys both name',
  ],
  ['signIn: { federatedToken: { enabled: true } }', 'signIn is set and nobody can sign in'],
  [
    `config: ${signIn.replace('hosts', 'listen: { host: 127.0.0.1 }, hosts')}\n${byCertificate}`,
    'config.signIn.listen.host is 127.0.0.1',
  ],
  [
    `config: ${signIn.replace('hosts', 'listen: { port: 0 }, hosts')}\n${byCertificate}`,
    'config.signIn.listen.port is 0',
  ],
  [
    `config: ${signIn.replace('hosts', 'listen: { port: 9090 }, hosts')}\n${byCertificate}`,
    'Two listeners have the same port',
  ],
  ['tenantId: ""', 'No tenant is trusted'],
  [
    'tenantId: common',
    'tenantId is "common", which stands for every tenant in the world: write the id',
  ],
  ['tenantId: Organizations', 'tenantId is "Organizations", which stands for every tenant'],
  ['tenantId: consumers', 'tenantId is "consumers", which stands for every tenant'],
  ['tenantId: contoso.onmicrosoft.com', 'tenantId is "contoso.onmicrosoft.com", which is no GUID'],
  ['tenantId: "{11111111-1111-4111-8111-111111111111}"', 'tenantId is'],
  ['audience: []', 'There is no policy'],
  ['extraEnv: [{ name: ENTRA_AUTH_CLOUD, value: china }]', 'extraEnv sets ENTRA_AUTH_CLOUD'],
  [
    'extraEnv: [{ name: NODE_TLS_REJECT_UNAUTHORIZED, value: "0" }]',
    'extraEnv sets NODE_TLS_REJECT_UNAUTHORIZED',
  ],
  ['config: { listen: { port: 0 } }', 'config.listen.port is 0'],
  ['config: { metrics: { port: 0 } }', 'config.metrics.port is 0'],
  ['config: { admin: { port: 0 } }', 'config.admin.port is 0'],
  ['config: { listen: { host: 127.0.0.1 } }', 'config.listen.host is 127.0.0.1'],
  ['config: { metrics: { host: localhost } }', 'config.metrics.host is localhost'],
  [
    'config: { admin: { host: 0.0.0.0 } }',
    'config.admin.host is not on loopback and there is no key',
  ],
  ['config: { metrics: { port: 8080 } }', 'Two listeners have the same port'],
  ['config: { listen: { port: 9091 } }', 'Two listeners have the same port'],
  [
    'tls: { existingSecret: t }\nconfig: { listen: { tls: { certificateFile: /c, keyFile: /k } } }',
    'tls.existingSecret and config.listen.tls both name the certificate',
  ],
  [
    `callerKey: ${key}\nconfig: { callerKeyFile: /k }`,
    'The callerKey comes from more than one place',
  ],
  [
    `callerKey: ${key}\nkeyVault: { ${vault}, callerKey: k }`,
    'The callerKey comes from more than one place',
  ],
  [
    `adminKey: ${key}\nconfig: { admin: { adminKeyFile: /k } }`,
    'The adminKey comes from more than one place',
  ],
  ['keyVault: { callerKey: k }', 'keyVault names a key and is off'],
  [`keyVault: { ${vault} }`, 'keyVault is on and reads nothing'],
  [
    'keyVault: { enabled: true, callerKey: k, name: v }',
    'keyVault needs name, tenantId and clientId',
  ],
  [
    'revocations: { existingConfigMap: c, existingClaim: d }',
    'Revocations come from more than one place',
  ],
  [
    'replicaCount: 1\nrevocations: { existingClaim: d }\nconfig: { revocationFile: /r }',
    'Revocations come from more than one place',
  ],
  ['revocations: { shared: true }', 'revocations.shared speaks of a claim that is not there'],
  ['revocations: { existingClaim: d }', 'Several pods would each have revocations of their own'],
  ['config: { revocationFile: /r }', 'Several pods would each have revocations of their own'],
  [
    'replicaCount: 1\nautoscaling: { enabled: true }\nrevocations: { existingClaim: d }',
    'Several pods would each have revocations of their own',
  ],
  [
    'autoscaling: { enabled: true, minReplicas: 4, maxReplicas: 3 }',
    'autoscaling.minReplicas is more than',
  ],
  [
    'autoscaling: { enabled: true }\nresources: { requests: { cpu: null } }',
    'autoscaling measures CPU against its request',
  ],
  ['podDisruptionBudget: { maxUnavailable: 0 }', 'podDisruptionBudget.maxUnavailable is 0'],
  ['podDisruptionBudget: { maxUnavailable: 0% }', 'podDisruptionBudget.maxUnavailable is 0'],
  [
    'shutdown: { preStopSleepSeconds: 20 }',
    'shutdown.terminationGracePeriodSeconds is too short for requests under way: write at least 32',
  ],
  ['workloadIdentity: { enabled: true }', "workloadIdentity needs the identity's client id"],
  [
    'workloadIdentity: { enabled: true }\nserviceAccount: { create: false }',
    'workloadIdentity would give its identity to every pod of the namespace',
  ],
  ['networkPolicy: { enabled: true }', 'networkPolicy lets no HAProxy in'],
  [
    'networkPolicy: { enabled: true, verifyFrom: [{ podSelector: {} }] }\nmonitoring: { podMonitor: { enabled: true } }',
    'networkPolicy lets no Prometheus in',
  ],
  [
    `${shut}proxy: { existingSecret: s }`,
    'networkPolicy lets nothing out to the proxy: add a rule',
  ],
  ...(
    [
      ['proxy: { url: "http://p:3128" }', 'port 3128, where proxy.url is'],
      ['proxy: { url: "http://p" }', 'port 80, where proxy.url is'],
      [store, 'port 6379, where store.url is'],
      ['store: { url: "rediss://[fd00::1]" }', 'port 6379, where store.url is'],
      ['config: { store: { url: "rediss://valkey:6380/1" } }', 'port 6380, where store.url is'],
      [collector('http://collector:4318/v1'), 'port 4318, where OTEL_EXPORTER_OTLP_ENDPOINT is'],
      [
        'extraEnv: [{ name: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, value: "http://collector" }]',
        'port 80, where OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is',
      ],
      [byIdentity, 'port 80, where the managed identity of sign-in is'],
      [
        byIdentity.replace(
          'managedIdentity: system',
          'keyVaultKey: "https://v.vault.azure.net/keys/k"',
        ),
        'port 80, where the managed identity of sign-in is',
      ],
    ] as const
  ).map(
    ([values, where]) =>
      [`${shut}${values}`, `networkPolicy lets nothing out to ${where}`] as const,
  ),
  [
    `${shut}${farAuthority}`,
    'networkPolicy lets nothing out to port 8443, where the authority https://login.example:8443 is',
  ],
  [
    `networkPolicy: { enabled: true, verifyFrom: [{ podSelector: {} }], httpsCidrs: [] }`,
    'networkPolicy lets nothing out to port 443, where the authority https://login.microsoftonline.com is',
  ],
  ...[
    'ports: [{ port: 6380 }]',
    'ports: [{ port: 6379, protocol: UDP }]',
    'ports: [{ port: 6000, endPort: 6378 }]',
  ].map(
    (rule) =>
      [`${letOut(`{ ${rule} }`)}${store}`, 'networkPolicy lets nothing out to port 6379'] as const,
  ),
  [
    'monitoring: { serviceMonitor: { enabled: true }, podMonitor: { enabled: true } }',
    'monitoring.serviceMonitor and monitoring.podMonitor would count everything twice',
  ],
  [
    'proxy: { url: "http://p:3128", existingSecret: s }',
    'proxy.url and proxy.existingSecret both name the proxy',
  ],
  ['proxy: { url: "http://me:secret@p:3128" }', 'proxy.url holds credentials'],
  ['proxy: { noProxy: .svc }', 'proxy.noProxy makes exceptions from a proxy that is not there'],
  ['admissionPolicy: { requireAuthUrl: true }', 'admissionPolicy.requireAuthUrl does nothing'],
  [
    'admissionPolicy: { enabled: true, validationActions: [Deny, Warn] }',
    'admissionPolicy.validationActions has Deny and Warn',
  ],
  [
    'privateCa: { existingConfigMap: c, existingSecret: s }',
    'privateCa.existingConfigMap and privateCa.existingSecret both hold the certificates',
  ],
] as const

/** Values that look alike and are fine. */
const fine = [
  'replicaCount: 1\nconfig: { revocationFile: /r }',
  'revocations: { existingClaim: d, shared: true }\nautoscaling: { enabled: true }',
  `adminKey: ${key}\nconfig: { admin: { host: 127.0.0.1 } }`,
  'config: { admin: { host: "::1" } }',
  `tenantId: ""\nconfig: ${tenants}`,
  `audience: []\nconfig: ${policies}`,
  `config: ${signInBy}`,
  `config: ${signIn}\n${byCertificate}`,
  'shutdown: { preStopSleepSeconds: 18 }',
  shut,
  store,
  ...[
    '{ ports: [{ port: 6379 }] }',
    '{ ports: [{ port: 53 }, { port: 6379, protocol: TCP }] }',
    '{ ports: [{ port: 6000, endPort: 6379 }] }',
    '{ ports: [{ port: redis }] }',
    '{ to: [{ podSelector: {} }] }',
  ].map((rule) => `${letOut(rule)}${store}`),
  `${shut}store: { url: "redis://127.0.0.1:6379" }`,
  `${shut}store: { url: "rediss://valkey:443" }`,
  `${shut}${collector('https://collector.example')}`,
  `${shut}${byIdentity}\nextraEnv: [{ name: IDENTITY_ENDPOINT, value: "http://127.0.0.1:42356/msi" }]`,
  `${letOut('{ ports: [{ port: 3128 }] }')}proxy: { url: "http://p:3128" }\n${farAuthority}`,
  'keyVault: { enabled: true, callerKey: k, name: v, tenantId: 11111111-1111-4111-8111-111111111111, clientId: 99999999-9999-4999-8999-999999999999 }',
]

/** What Helm printed so far. */
const seen: string[] = []

const merge = (more: string) =>
  JSON.stringify({
    tenantId: '11111111-1111-4111-8111-111111111111',
    audience: ['api://orders'],
    ...parse(more),
  })

const helm = helms.at(-1) ?? assert.fail('no Helm')

describe('contradictory values', () => {
  for (const [values, sentence] of contradictions) {
    it(`are refused with one sentence: ${values.replaceAll('\n', ', ')}`, () => {
      const { code, stdout, stderr } = template(helm, merge(values))
      assert.notEqual(code, 0)
      assert.equal(stdout, '')
      seen.push(stderr)
      assert.ok(stderr.includes(sentence), stderr)
    })
  }

  for (const values of fine) {
    it(`are not these: ${values.replaceAll('\n', ', ')}`, () => {
      const { code, stderr } = template(helm, merge(values))
      assert.equal(code, 0, stderr)
    })
  }
})

describe('each sentence of the chart', () => {
  const checks = readFileSync(join(chartFolder, 'templates', '_checks.tpl'), 'utf8')
  const sentences = [...checks.matchAll(/fail \(?(?:printf )?"((?:[^"\\]|\\.)+)"/g)].map(
    ([, text = '']) => text.replaceAll('\\"', '"'),
  )

  it('is tested here', () => {
    assert.equal(sentences.length, [...checks.matchAll(/\bfail\b/g)].length)
    const untested = sentences.filter((sentence) => {
      const words = sentence.split(/%[sd]/).map((part) => part.replaceAll(/[^\w ]/g, '\\$&'))
      return !seen.some((text) => new RegExp(words.join('.+')).test(text))
    })
    assert.deepEqual(untested, [])
  })

  it('ends with a full stop, and is one', () => {
    assert.deepEqual(
      sentences.filter((sentence) => !/^[^\n]+[^.]\.$/.test(sentence)),
      [],
    )
  })

  it('about variables names each that docs/configuration.md has', () => {
    const page = readFileSync(join(chartFolder, '../../docs/configuration.md'), 'utf8')
    // What a command reads says nothing against the configuration, and serves in a pod as well.
    const ofTheService = page.replace(/^.*\| for the command .*$/gm, '')
    const documented = new Set(ofTheService.match(/\bENTRA_AUTH_[A-Z_]+[A-Z]\b/g))
    const refused = new Set(checks.match(/\bENTRA_AUTH_[A-Z_]+[A-Z]\b/g))
    assert.deepEqual([...refused].toSorted(), [...documented].toSorted())
  })
})
