import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { after, describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { helms, type Manifest, renderShape, shapes } from './render.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const models = join(ROOT, 'helm', 'node_modules')
const helm = helms.at(-1) ?? assert.fail('no Helm')
const rendered = shapes.map((shape) => ({ ...shape, manifests: renderShape(helm, shape) }))

interface Model {
  validate(): void
}

describe('the objects of the chart', () => {
  for (const { name, manifests } of rendered) {
    it(`are valid in ${name}`, async () => {
      for (const manifest of manifests) {
        if (manifest.kind === 'SecretProviderClass') checkSecretProviderClass(manifest)
        else {
          const module = await import(pathToFileURL(modelFile(manifest)).href)
          const Kind = module[manifest.kind] as new (data: Manifest) => Model
          assert.doesNotThrow(() => new Kind(manifest).validate(), manifest.metadata.name)
        }
      }
    })

    it(`have one of each name, and names that Kubernetes takes, in ${name}`, () => {
      const names = manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`)
      assert.equal(new Set(names).size, names.length)
      for (const { metadata } of manifests) {
        assert.match(metadata.name, /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/)
        for (const value of Object.values(metadata.labels ?? {})) {
          assert.match(value, /^([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$/)
        }
      }
    })
  }

  // The schemas of Kubernetes let unknown fields pass, and the API server drops them: `preStp` would
  // be no error anywhere. The types do not have them, and the compiler says so.
  it('have no field that Kubernetes does not know', () => {
    const folder = join(ROOT, '.cache', 'chart', String(process.pid))
    mkdirSync(folder, { recursive: true })
    after(() => rmSync(folder, { recursive: true, force: true }))
    const file = join(folder, 'manifests.ts')
    const all = rendered.flatMap(({ manifests }) => manifests)
    const typed = all.filter(({ kind }) => kind !== 'SecretProviderClass')
    assert.ok(typed.length > 100)
    writeFileSync(file, typed.map((manifest, index) => declare(folder, manifest, index)).join('\n'))
    const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
    const flags = '--noEmit --strict --skipLibCheck --ignoreConfig --target es2024'.split(' ')
    const args = [tsc, ...flags, '--module', 'nodenext', '--moduleResolution', 'nodenext', file]
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    assert.equal(status, 0, stdout)
  })
})

function modelFile({ apiVersion, kind }: Manifest): string {
  const source = apiVersion.startsWith('monitoring.coreos.com/')
    ? '@kubernetes-models/prometheus-operator'
    : 'kubernetes-models'
  return join(models, source, apiVersion, `${kind}.js`)
}

function declare(folder: string, manifest: Manifest, index: number): string {
  const source = relative(folder, modelFile(manifest)).replaceAll('\\', '/')
  const type = `import('${source}').I${manifest.kind}`
  return `export const object${index}: ${type} = ${JSON.stringify(manifest, undefined, 2)}`
}

const text = { type: 'string' } as const
const exactly = (properties: object) => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
})

/** As the CSI driver and its Azure provider document it; no package has a schema of it. */
const isSecretProviderClass = new Ajv().compile(
  exactly({
    apiVersion: { const: 'secrets-store.csi.x-k8s.io/v1' },
    kind: text,
    metadata: { type: 'object' },
    spec: exactly({
      provider: { const: 'azure' },
      parameters: { type: 'object', additionalProperties: text },
    }),
  }),
)
const isVaultObject = new Ajv().compile(
  exactly({
    objectName: text,
    objectAlias: { enum: ['caller-key', 'admin-key'] },
    objectType: { const: 'secret' },
  }),
)

function checkSecretProviderClass(manifest: Manifest): void {
  assert.ok(isSecretProviderClass(manifest), JSON.stringify(isSecretProviderClass.errors))
  const { array } = parse(manifest.spec.parameters.objects) as { array: string[] }
  assert.ok(array.length > 0)
  for (const object of array) assert.ok(isVaultObject(parse(object)), object)
}
