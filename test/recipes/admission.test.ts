/** The admission policies of the recipes: what goes around the action, or around `auth-url`. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parse, parseAllDocuments } from 'yaml'
import { authUrlCases, bypassCases, ingress } from './admission-cases.ts'
import { readPolicies, refusalsOf } from './admission-policies.ts'
import { recipeFile } from './recipe-files.ts'

const files = {
  'kubernetes/admission-policy.yaml': bypassCases,
  'haproxy-ingress/admission-auth-url.yaml': authUrlCases,
} as const

for (const [file, cases] of Object.entries(files)) {
  const policies = readPolicies(recipeFile(file))
  describe(`recipes/${file}`, () => {
    for (const { title, creation, refusal } of cases) {
      it(`${refusal === undefined ? 'admits' : 'refuses'} ${title}`, () => {
        const refusals = refusalsOf(policies, creation)
        if (refusal === undefined) assert.deepEqual(refusals, [])
        else {
          assert.ok(
            refusals.some((message) => message.includes(refusal)),
            refusals.join(),
          )
          // An expression that fails refuses everything, also what is right.
          assert.doesNotMatch(refusals.join(), /Error/)
        }
      })
    }

    it('has each sentence refuse something', () => {
      const seen = new Set(cases.flatMap(({ creation }) => refusalsOf(policies, creation)))
      const messages = policies.flatMap(({ spec }) =>
        spec.validations.map(({ message }) => message),
      )
      const unused = messages.filter((message) => !seen.has(message))
      assert.deepEqual(unused, [])
    })

    // The API server refuses the whole policy for a name such as `namespace`.
    it('names its variables as CEL allows', () => {
      const reserved =
        /^(as|break|const|continue|else|false|for|function|if|import|in|let|loop|namespace|null|package|return|true|var|void|while)$/
      const names = policies.flatMap(({ spec }) => (spec.variables ?? []).map(({ name }) => name))
      assert.ok(names.length > 0)
      for (const name of names) {
        assert.match(name, /^[_a-zA-Z][_a-zA-Z0-9]*$/)
        assert.doesNotMatch(name, reserved)
      }
    })

    it('refuses where it cannot be evaluated', () => {
      assert.ok(policies.length > 0)
      for (const { spec } of policies) assert.equal(spec.failurePolicy, 'Fail')
    })
  })
}

describe('the classes of an admission policy', () => {
  const [first] = readPolicies(
    recipeFile('kubernetes/admission-policy.yaml').replace(
      /(name: classes\n +expression: )"\[\]"/,
      `$1"['haproxy']"`,
    ),
  )
  const policies = first ? [first] : []
  const bad = { 'haproxy.org/ssl-passthrough': 'true' }

  it('leave out another class, and nothing that may be of this one', () => {
    assert.deepEqual(refusalsOf(policies, ingress(bad, { ingressClassName: 'nginx' })), [])
    for (const creation of [
      ingress(bad, { ingressClassName: 'haproxy' }),
      ingress(bad, { ingressClassName: undefined }),
      ...['kubernetes.io/ingress.class', 'haproxy.org/ingress.class', 'ingress.class'].map((name) =>
        ingress({ ...bad, [name]: 'haproxy' }, { ingressClassName: 'nginx' }),
      ),
    ]) {
      assert.equal(refusalsOf(policies, creation).length, 1)
    }
  })
})

describe('the Ingress of the recipe', () => {
  it('is admitted by both', () => {
    const object = parse(recipeFile('haproxy-ingress/ingress-auth-url.yaml'))
    const creation = { group: 'networking.k8s.io', resource: 'ingresses', object }
    for (const file of Object.keys(files)) {
      const { namespace } = object.metadata
      assert.deepEqual(refusalsOf(readPolicies(recipeFile(file)), { ...creation, namespace }), [])
    }
  })
})

describe('the objects of the Gateway API in the recipe', () => {
  it('are admitted, and reach the application by HTTP alone', () => {
    const policies = readPolicies(recipeFile('kubernetes/admission-policy.yaml'))
    const objects = parseAllDocuments(recipeFile('haproxy-ingress/gateway.yaml')).map((document) =>
      document.toJS(),
    )
    assert.deepEqual(
      objects.map(({ kind }) => kind),
      ['GatewayClass', 'Gateway', 'HTTPRoute'],
    )
    for (const object of objects) {
      const resource = `${object.kind.toLowerCase()}s`
      const creation = {
        group: 'gateway.networking.k8s.io',
        resource,
        namespace: 'default',
        object,
      }
      assert.deepEqual(refusalsOf(policies, creation), [])
    }
    const [gatewayClass, gateway, route] = objects
    assert.equal(gateway.spec.gatewayClassName, gatewayClass.metadata.name)
    assert.equal(route.spec.parentRefs[0].name, gateway.metadata.name)
  })
})
