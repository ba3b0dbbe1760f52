import { Ajv, type ErrorObject } from 'ajv'
import { nearest } from '../nearest.ts'
import { formatPath, type Path, quote, type Report } from './problems.ts'
import { configFileSchema } from './schema.ts'
import { entriesOf, mappingOf } from './values.ts'

// `verbose` hands each error its schema, and with it the description that becomes the hint.
const validate = new Ajv({ allErrors: true, verbose: true, strict: false }).compile(
  configFileSchema,
)

const SECRET_KEY = /secret|password|key$/i

const MUTABLE_CLAIMS = new Set(['email', 'upn', 'preferred_username', 'name', 'unique_name'])

/**
 * Checks the tree of a configuration file against the schema and reports every difference, except
 * at paths for which `known` says that a more precise problem was reported already.
 */
export function checkShape(tree: unknown, known: ReadonlySet<string>, report: Report): void {
  validate(tree)
  for (const error of dropOtherBranches(validate.errors ?? [])) {
    const path = pathOf(tree, error)
    if (error.keyword === 'additionalProperties') reportUnknownKey(path, error, report)
    else if (!known.has(formatPath(path))) {
      report(path, describe(error), hintOf(error))
    }
  }
}

/**
 * A union fails with the errors of all its branches, right before its own. Where the value has the
 * type of one branch, only that branch's errors help; otherwise only the union's own does.
 */
function dropOtherBranches(errors: readonly ErrorObject[]): readonly ErrorObject[] {
  const dropped = new Set<ErrorObject>()
  for (const [index, union] of errors.entries()) {
    if (union.keyword !== 'anyOf') continue
    const prefix = `${union.schemaPath}/`
    const branchOf = (error: ErrorObject) => error.schemaPath.slice(prefix.length).split('/')[0]
    const inside: ErrorObject[] = []
    for (let before = errors[index - 1]; before !== undefined; ) {
      const same = before.instancePath === union.instancePath
      const within = same || before.instancePath.startsWith(`${union.instancePath}/`)
      if (!within || !before.schemaPath.startsWith(prefix)) break
      inside.push(before)
      before = errors[index - 1 - inside.length]
    }
    const wrongType = new Set(
      inside
        .filter((error) => error.instancePath === union.instancePath)
        .filter((error) => ['type', 'const', 'enum'].includes(error.keyword))
        .map(branchOf),
    )
    const fits = inside.some((error) => !wrongType.has(branchOf(error)))
    for (const error of inside) if (wrongType.has(branchOf(error))) dropped.add(error)
    if (fits) dropped.add(union)
  }
  return errors.filter((error) => !dropped.has(error))
}

function pathOf(tree: unknown, error: ErrorObject): Path {
  const path: (string | number)[] = []
  let value = tree
  for (const part of error.instancePath.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    path.push(Array.isArray(value) ? Number(key) : key)
    value = (value as Record<string, unknown>)[key]
  }
  if (error.keyword === 'required') path.push(String(error.params.missingProperty))
  if (error.keyword === 'additionalProperties') path.push(String(error.params.additionalProperty))
  return path
}

function describe(error: ErrorObject): string {
  const { keyword, params, data } = error
  const { minimum, maximum } = (error.parentSchema ?? {}) as Record<string, unknown>
  if (keyword === 'required') return 'is missing'
  if (data === null) return 'has no value'
  switch (keyword) {
    case 'minItems':
      return 'is an empty list'
    case 'minProperties':
    case 'minLength':
      return 'is empty'
    case 'minimum':
    case 'maximum':
      return `is ${String(data)}, outside ${String(minimum)} to ${String(maximum)}`
    case 'type':
      return `is ${kindOf(data)} where ${kindName(String(params.type))} belongs`
    default:
      return typeof data === 'object' ? `is ${kindOf(data)}` : 'is not an accepted value'
  }
}

function hintOf(error: ErrorObject): string {
  const schema = error.parentSchema as Record<string, unknown>
  const described =
    error.keyword === 'required'
      ? mappingOf(mappingOf(schema.properties)?.[String(error.params.missingProperty)])
      : schema
  const hint = described?.description
  return typeof hint === 'string' ? hint : 'See the configuration reference.'
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return 'text'
  if (typeof value === 'boolean') return 'true or false'
  if (typeof value === 'number') return Number.isInteger(value) ? 'a number' : 'a fraction'
  return 'a mapping'
}

function kindName(type: string): string {
  switch (type) {
    case 'array':
      return 'a list'
    case 'object':
      return 'a mapping'
    case 'boolean':
      return 'true or false'
    case 'number':
      return 'a number'
    case 'integer':
      return 'a whole number'
    default:
      return 'text'
  }
}

function reportUnknownKey(path: Path, error: ErrorObject, report: Report): void {
  const schema = error.parentSchema as Record<string, unknown>
  const key = String(path.at(-1))
  if (schema.patternProperties !== undefined) {
    const hint =
      path[0] === 'identityHeaders'
        ? 'Use letters, digits and hyphens, at most 64.'
        : 'Use letters, digits, . _ and -, beginning with a letter, digit or _, at most 64.'
    report(path, 'is not a usable name', hint)
    return
  }
  const keys = entriesOf(schema.properties).map(([name]) => name)
  const value = mappingOf(error.data)?.[key]
  const near = nearest(key, keys)
  if (SECRET_KEY.test(key) && !/file$/i.test(key) && isLiteral(value)) {
    const file = nearest(`${key}File`, keys) ?? 'callerKeyFile or admin.adminKeyFile'
    report(
      path,
      'is a literal secret, which a configuration file must not hold',
      `Remove it, and treat it as disclosed. If a key is needed, put it into a file, and name that in ${file}.`,
    )
  } else if (inRule(path) && MUTABLE_CLAIMS.has(key.toLowerCase())) {
    report(
      path,
      'is not a safe condition: its value can change hands, and some tenants let users set it',
      'Use groups, roles or, in deny, users: their ids never change.',
    )
  } else if (near !== undefined) {
    report(path, 'is not a known key', `Did you mean ${quote(near)}?`)
  } else {
    report(path, 'is not a known key', `Known here: ${keys.join(', ')}.`)
  }
}

function isLiteral(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number'
}

function inRule(path: Path): boolean {
  return path.length === 5 && path[0] === 'policies' && (path[2] === 'allow' || path[2] === 'deny')
}
