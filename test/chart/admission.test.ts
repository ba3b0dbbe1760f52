/** The admission policies that the chart installs are those of the recipes, with its values in them. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { stringify } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import {
  type AdmissionCase,
  authUrlCases,
  bypassCases,
  filtered,
  ingress,
} from '../recipes/admission-cases.ts'
import { readPolicies, refusalsOf } from '../recipes/admission-policies.ts'
import { helms, imageValues, parseManifests, runHelm } from './render.ts'

const helm = helms.at(-1) ?? assert.fail('no Helm')
const minimal = 'tenantId: 11111111-1111-4111-8111-111111111111\naudience: [api://orders]\n'

function render(values: string, namespace = 'default', release = 'verifier') {
  const args = ['template', release, chartFolder, '--namespace', namespace]
  const { code, stdout, stderr } = runHelm(
    helm,
    [...args, ...imageValues, '--values', '-'],
    minimal + values,
  )
  assert.equal(code, 0, stderr)
  return parseManifests(stdout).filter(({ apiVersion }) => apiVersion.startsWith('admission'))
}

function check(policies: ReturnType<typeof readPolicies>, cases: readonly AdmissionCase[]) {
  for (const { title, creation, refusal } of cases) {
    const refusals = refusalsOf(policies, creation)
    if (refusal === undefined) assert.deepEqual(refusals, [], title)
    else
      assert.ok(
        refusals.some((message) => message.includes(refusal)),
        title,
      )
  }
}

function policiesOf(manifests: ReturnType<typeof render>, name: RegExp) {
  const chosen = manifests.filter(({ metadata }) => name.test(metadata.name))
  return readPolicies(chosen.map((manifest) => stringify(manifest)).join('---\n'))
}

describe('the admission policies of the chart', () => {
  it('are absent by default', () => {
    assert.deepEqual(render(''), [])
  })

  it('refuse and admit what those of the recipes do', () => {
    const manifests = render('admissionPolicy: { enabled: true, requireAuthUrl: true }')
    check(policiesOf(manifests, /-(annotations|routes|resources)$/), bypassCases)
    check(policiesOf(manifests, /-auth-url$/), authUrlCases)
  })

  it('leave an Ingress without auth-url alone unless it is required', () => {
    const policies = policiesOf(render('admissionPolicy: { enabled: true }'), /./)
    assert.deepEqual(refusalsOf(policies, ingress({})), [])
  })

  it('look at the classes of the values, and ask for the Service of the release', () => {
    const values =
      'admissionPolicy: { enabled: true, requireAuthUrl: true, ingressClasses: [edge] }'
    const policies = policiesOf(render(values, 'entra', 'edge'), /./)
    assert.deepEqual(refusalsOf(policies, ingress({ 'haproxy.org/ssl-passthrough': 'true' })), [])
    const of = (url: string) =>
      refusalsOf(
        policies,
        ingress({ 'haproxy-ingress.github.io/auth-url': url }, { ingressClassName: 'edge' }),
      )
    assert.deepEqual(of('svc://entra/edge-haproxy-entra-auth:verify/verify/orders'), [])
    assert.ok(of('svc://default/verifier-haproxy-entra-auth:verify/verify/orders').length > 0)
  })

  it('are bound, each to itself, but for the namespaces that are left out', () => {
    const manifests = render(
      'admissionPolicy: { enabled: true, exemptNamespaces: [haproxy-controller], validationActions: [Warn, Audit] }',
    )
    const names = (kind: string) =>
      manifests.filter((one) => one.kind === kind).map(({ metadata }) => metadata.name)
    const bindings = manifests.filter(({ kind }) => kind.endsWith('Binding'))
    assert.equal(bindings.length, 3)
    assert.deepEqual(
      bindings.map(({ spec }) => spec.policyName),
      names('ValidatingAdmissionPolicy'),
    )
    for (const { spec } of bindings) {
      assert.deepEqual(spec.validationActions, ['Warn', 'Audit'])
      const [{ operator, values }] = spec.matchResources.namespaceSelector.matchExpressions
      assert.deepEqual([operator, values], ['NotIn', ['haproxy-controller']])
    }
  })

  it('refuse the header names of config.identityHeaders and admissionPolicy.identityHeaders', () => {
    const names = `config: { identityHeaders: { X-User: oid, X^Tenant: tid } }
admissionPolicy: { enabled: true, identityHeaders: [X-Team] }`
    const policies = policiesOf(render(names), /./)
    const by = (annotation: string, value: string) =>
      refusalsOf(policies, ingress({ [annotation]: value })).join()
    for (const name of ['X-User', 'x_user', 'X.Tenant', 'x-team']) {
      const changes = /changes a header by which/
      assert.match(by('haproxy.org/request-set-header', `X-A a\n${name} admin`), changes, name)
      assert.match(by('haproxy-ingress.github.io/headers', `${name}: admin`), changes, name)
      assert.match(by('haproxy-ingress.github.io/request-del-headers', `A, ${name}`), changes, name)
      for (const modifier of [{ set: [{ name, value: 'admin' }] }, { remove: [name] }]) {
        const said = refusalsOf(policies, filtered('HTTPRoute', modifier)).join()
        assert.match(said, changes, name)
      }
    }
    assert.equal(by('haproxy.org/request-set-header', 'X-Username a\nX-A X-User'), '')
    assert.deepEqual(refusalsOf(policies, filtered('HTTPRoute', { remove: ['X-Username'] })), [])
    const standard = policiesOf(
      render('config: { identityHeaders: remote-user }\nadmissionPolicy: { enabled: true }'),
      /./,
    )
    assert.deepEqual(refusalsOf(standard, ingress({ 'haproxy.org/request-set-header': 'a b' })), [])
  })

  it('of two releases have names of their own', () => {
    const names = ['shop', 'stock'].flatMap((namespace) =>
      render('admissionPolicy: { enabled: true }', namespace).map(
        ({ kind, metadata }) => `${kind} ${metadata.name}`,
      ),
    )
    assert.equal(new Set(names).size, names.length)
  })
})
