/** The units of the recipe for a virtual machine, judged by systemd itself. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { makeFolder } from '../serve/process.ts'
import { loadRecipeConfig, recipeFile } from './recipe-files.ts'

const unit = recipeFile('vm/haproxy-entra-auth.service')

function analyze(...args: string[]) {
  const { status, stdout, stderr, error } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
  if (error) throw new Error('systemd-analyze is missing: install systemd')
  return { status, output: `${stdout}${stderr}` }
}

/** All values of a setting. */
function settings(name: string): string[] {
  return [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value = '']) => value)
}

describe('the unit of the verifier', () => {
  it('is accepted by systemd-analyze verify without a word', (t) => {
    const file = join(makeFolder(t), 'haproxy-entra-auth.service')
    // The program is not installed on the machine of this test.
    writeFileSync(
      file,
      unit.replaceAll('/opt/haproxy-entra-auth/bin/haproxy-entra-auth', '/bin/true'),
    )
    const { status, output } = analyze('verify', '--man=no', file)
    const own = output.split('\n').filter((line) => line.includes('haproxy-entra-auth'))
    assert.deepEqual([status, own], [0, []], output)
  })

  it('is exposed by at most 1.5 of 10 to systemd-analyze security', (t) => {
    const file = join(makeFolder(t), 'haproxy-entra-auth.service')
    writeFileSync(file, unit)
    const { status, output } = analyze('security', '--offline=yes', '--threshold=15', file)
    assert.equal(status, 0, output)
    assert.match(output, /Overall exposure level for \S+: \d\.\d OK/)
  })

  it('runs as no user that exists, without a capability', () => {
    assert.deepEqual(settings('DynamicUser'), ['yes'])
    assert.deepEqual(settings('CapabilityBoundingSet'), [''])
    assert.deepEqual(settings('User'), [])
  })

  it('gives the configuration the credentials and the directory that it names', async () => {
    const text = recipeFile('vm/config.yaml')
    const config = await loadRecipeConfig(text)
    assert.equal(settings('StateDirectory')[0], 'haproxy-entra-auth')
    for (const path of [config.keyStore, config.revocationFile]) {
      assert.match(path ?? '', /^\/var\/lib\/haproxy-entra-auth\//)
    }
    const wanted = [...text.matchAll(/\/run\/credentials\/haproxy-entra-auth\.service\/([\w-]+)/g)]
    assert.deepEqual(
      wanted.map(([, name]) => name).toSorted(),
      settings('LoadCredential')
        .map((value) => value.split(':')[0])
        .toSorted(),
    )
  })

  it('is wanted by HAProxy, whose drop-in is accepted too', (t) => {
    const folder = makeFolder(t)
    const file = join(folder, 'haproxy.service')
    writeFileSync(file, '[Service]\nExecStart=/bin/true\n')
    writeFileSync(
      join(folder, 'haproxy-entra-auth.service'),
      unit.replaceAll('/opt/haproxy-entra-auth/bin/haproxy-entra-auth', '/bin/true'),
    )
    mkdirSync(`${file}.d`)
    const dropIn = recipeFile('vm/haproxy.service.d-entra-auth.conf')
    writeFileSync(join(`${file}.d`, 'entra-auth.conf'), dropIn)
    const { status, output } = analyze('verify', '--man=no', file)
    const own = output.split('\n').filter((line) => /haproxy|entra-auth\.conf/.test(line))
    assert.deepEqual([status, own], [0, []], output)
    assert.match(dropIn, /^Wants=haproxy-entra-auth\.service$/m)
  })

  it('does not start again with a configuration that is wrong', () => {
    assert.deepEqual(settings('RestartPreventExitStatus'), ['78'])
  })
})
