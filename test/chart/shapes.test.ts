import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, it } from 'node:test'
import { stringify } from 'yaml'
import { chartFolder } from '../../scripts/chart.ts'
import { helms, type Manifest, renderShape, runHelm, shapes, template } from './render.ts'

const values = 'tenantId: 11111111-1111-4111-8111-111111111111\naudience: api://orders\n'
const snapshots = join(import.meta.dirname, 'snapshots')
const files = ['entra-auth.lua', 'haproxy.cfg', 'haproxy-entra-auth.json', 'service-test.mjs'].map(
  (name) => ({ name, text: readFileSync(join(chartFolder, 'files', name), 'utf8') }),
)

for (const helm of helms) {
  describe(`the chart with Helm ${helm.version}`, () => {
    for (const shape of shapes) {
      it(`passes the strict lint with ${shape.name}`, () => {
        const { code, stdout, stderr } = runHelm(helm, [
          'lint',
          '--strict',
          chartFolder,
          '--values',
          shape.file,
        ])
        assert.equal(code, 0, stdout + stderr)
      })

      it(`renders ${shape.name} as its snapshot says`, () => {
        compareWithSnapshot(shape.name, print(renderShape(helm, shape)))
      })
    }

    it('renders the same for the oldest and the newest Kubernetes', () => {
      const [oldest, newest] = ['1.30.0', '1.36.0'].map((version) => {
        const { code, stdout, stderr } = template(helm, values, ['--kube-version', version])
        assert.equal(code, 0, stderr)
        return stdout
      })
      assert.equal(oldest, newest)
    })

    it('refuses a Kubernetes without the sleep action', () => {
      const { code, stderr } = template(helm, values, ['--kube-version', '1.29.9'])
      assert.notEqual(code, 0)
      assert.match(stderr, /kubeVersion: >=1\.30\.0-0/)
    })
  })
}

describe('the snapshots', () => {
  it('belong to a shape each', () => {
    const names = readdirSync(snapshots).map((file) => basename(file, '.yaml'))
    assert.deepEqual(names.toSorted(), shapes.map(({ name }) => name).toSorted())
  })
})

/** Objects as text, with the name in place of what is a file of the chart: those change often. */
function print(manifests: readonly Manifest[]): string {
  const shown = JSON.stringify(manifests, (key, value: unknown) => {
    // The chart makes it, another one for each rendering.
    if (key === 'sealing-1.key') return '<random>'
    const file = files.find(({ text }) => text === value)
    return file ? `<files/${file.name}>` : value
  })
  return JSON.parse(shown)
    .map((manifest: Manifest) => stringify(manifest, { lineWidth: 0 }))
    .join('---\n')
}

function compareWithSnapshot(name: string, text: string): void {
  const file = join(snapshots, `${name}.yaml`)
  if (process.env.UPDATE_SNAPSHOTS && !process.env.CI) {
    mkdirSync(snapshots, { recursive: true })
    writeFileSync(file, text)
  }
  assert.ok(existsSync(file), `no snapshot of ${name}: UPDATE_SNAPSHOTS=1 npm test -- --only chart`)
  assert.equal(text, readFileSync(file, 'utf8'))
}
