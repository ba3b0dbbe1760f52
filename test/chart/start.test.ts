import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { contoso, startAuthority } from '../serve/authority.ts'
import { makeFolder } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { helms, only, parseManifests, template } from './render.ts'

const main = resolve(import.meta.dirname, '../../src/main.ts')
const helm = helms.at(-1) ?? assert.fail('no Helm')

describe('the container of the Deployment, as a process', () => {
  it('answers its probes, and ends on SIGTERM in the time that the pod gives it', async (t) => {
    const authority = await startAuthority(t)
    const folder = makeFolder(t)
    const [verify, metrics, admin] = await freePorts(3)
    const values = JSON.stringify({
      audience: ['api://orders'],
      config: {
        listen: { port: verify },
        metrics: { port: metrics },
        admin: { port: admin },
        tenants: { contoso: { id: contoso, authority: authority.origin } },
      },
    })
    const manifests = parseManifests(template(helm, values).stdout)
    const pod = only(manifests, 'Deployment').spec.template.spec
    const [container] = pod.containers
    const config =
      only(manifests, 'ConfigMap', 'edge-haproxy-entra-auth').data?.['config.yaml'] ?? ''
    const file = join(folder, 'config.yaml')
    // What the pod has as volumes is a folder of the test here.
    writeFileSync(file, config.replaceAll('/var/lib/haproxy-entra-auth', folder))
    const args = container.args.map((arg: string) => (arg.endsWith('/config.yaml') ? file : arg))
    const env = Object.fromEntries(
      (container.env as { name: string; value: string }[]).map(({ name, value }) => [name, value]),
    )
    const child = spawn(process.execPath, [main, ...args], {
      env: { ENTRA_AUTH_HOST: '0.0.0.0', ...env },
      stdio: 'ignore',
    })
    t.after(() => child.kill('SIGKILL'))
    const exited = once(child, 'exit')

    for (const name of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
      const { path, port } = container[name].httpGet
      const { containerPort } = container.ports.find((one: { name: string }) => one.name === port)
      const ask = () =>
        fetch(`http://127.0.0.1:${containerPort}${path}`).then(
          ({ status }) => status,
          () => undefined,
        )
      await eventually(ask, (status) => status === 200)
    }

    const startedMs = performance.now()
    child.kill('SIGTERM')
    const [code] = await exited
    assert.equal(code, 0)
    const sleep = container.lifecycle.preStop.sleep.seconds
    const givenMs = (pod.terminationGracePeriodSeconds - sleep) * 1000
    assert.ok(performance.now() - startedMs < givenMs)
  })
})
