/**
 * The admission policies of the recipes, evaluated as the API server does: which resources a policy
 * looks at, its variables, and its validations, all of which must hold.
 */
import { Environment } from '@marcbachmann/cel-js'
import { parseAllDocuments } from 'yaml'

interface Rule {
  readonly apiGroups: readonly string[]
  readonly operations: readonly string[]
  readonly resources: readonly string[]
}

/** A ValidatingAdmissionPolicy. */
export interface AdmissionPolicy {
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly failurePolicy: string
    readonly matchConstraints: { readonly resourceRules: readonly Rule[] }
    readonly variables?: readonly { readonly name: string; readonly expression: string }[]
    readonly validations: readonly { readonly expression: string; readonly message: string }[]
  }
}

/** Somebody creates an object. */
export interface Creation {
  readonly group: string
  readonly resource: string
  readonly namespace: string
  readonly object: object
}

/** The policies in a file of YAML documents. */
export function readPolicies(text: string): readonly AdmissionPolicy[] {
  const documents = parseAllDocuments(text)
  return [...documents]
    .map((document) => ('toJS' in document ? document.toJS() : undefined))
    .filter((object) => object?.kind === 'ValidatingAdmissionPolicy')
}

/** What the policies say against it; nothing where they admit it. An expression that fails counts too. */
export function refusalsOf(policies: readonly AdmissionPolicy[], creation: Creation): string[] {
  return policies
    .filter(({ spec }) => spec.matchConstraints.resourceRules.some((rule) => fits(rule, creation)))
    .flatMap(({ spec }) => evaluate(spec, creation))
}

function fits({ apiGroups, operations, resources }: Rule, { group, resource }: Creation): boolean {
  const covers = resources.includes(resource) || resources.includes('*')
  return apiGroups.includes(group) && covers && operations.includes('CREATE')
}

function evaluate(spec: AdmissionPolicy['spec'], creation: Creation): string[] {
  const { group, resource, namespace, object } = creation
  const environment = new Environment({ unlistedVariablesAreDyn: true })
  const variables: Record<string, unknown> = {}
  const context = { object, variables, request: { namespace, resource: { group, resource } } }
  const ask = (expression: string): unknown => environment.evaluate(expression, context)
  // A variable sees those before it.
  for (const { name, expression } of spec.variables ?? []) variables[name] = ask(expression)
  return spec.validations.flatMap(({ expression, message }) => {
    try {
      return ask(expression) === true ? [] : [message]
    } catch (error) {
      return [`${message} (${error})`]
    }
  })
}
