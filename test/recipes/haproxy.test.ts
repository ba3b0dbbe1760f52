/**
 * The HAProxy lines of each recipe: the same as `haproxy-config` prints, and on a real HAProxy with
 * a real verifier behind. What an ingress controller writes around its snippets is written here in
 * the shape that its own template has.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { renewLines, targets } from '../../scripts/recipe-lines.ts'
import { haproxyFindings } from '../drift/fixture.ts'
import { ask, values } from '../e2e/client.ts'
import { type Authority, contoso, startAuthority } from '../serve/authority.ts'
import { makeFolder, type ServiceProcess, startService, untilReady } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { cases } from './cases.ts'
import { community, ingress, recipes } from './haproxy-recipes.ts'
import { loadRecipeConfig, recipeFile } from './recipe-files.ts'

describe('the HAProxy lines of the recipes', () => {
  // kubernetes-ingress takes a backend's snippet out when HAProxy refuses the configuration, and goes
  // on without it; in both, an annotation on an Ingress replaces it.
  it('stand in no place that an Ingress can replace or the controller takes out', () => {
    for (const { config } of [ingress, community]) {
      const places = Object.entries<string>(config).filter(([, text]) =>
        text.includes('lua.entra-auth '),
      )
      assert.equal(places.length, 1)
      assert.match(places[0]?.[0] ?? '', /frontend/)
    }
  })

  it('need no template: the charts hand them through the template engine', async () => {
    for (const { files } of recipes) {
      for (const text of await files()) assert.doesNotMatch(text, /\{\{|\}\}/)
    }
  })

  for (const target of targets) {
    it(`are those that haproxy-config prints (else: node scripts/recipe-lines.ts --write): ${target.file}`, async () => {
      assert.equal(recipeFile(target.file), await renewLines(target))
    })
  }

  for (const { name, verifierConfig, files, accepted = [] } of recipes) {
    it(`have no drift except what the controller is responsible for: ${name}`, async () => {
      const config = await loadRecipeConfig(verifierConfig)
      const codes = haproxyFindings((await files()).join('\n'), config).map(({ code }) => code)
      assert.deepEqual(codes, accepted)
    })
  }
})

for (const recipe of recipes) {
  describe(`the recipe ${recipe.name} on HAProxy`, () => {
    const cleanUps: (() => unknown)[] = []
    const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
    let authority: Authority
    let service: ServiceProcess
    let app: EchoApp
    let haproxy: Haproxy

    before(async () => {
      const folder = makeFolder(life)
      authority = await startAuthority(life)
      writeFileSync(join(folder, 'key'), 'a-key-of-these-tests')
      const config = join(folder, 'config.yaml')
      writeFileSync(config, forTest(recipe.verifierConfig, authority, folder))
      service = await startService(life, { ENTRA_AUTH_CONFIG: config })
      await untilReady(service)
      app = await startEchoApp()
      life.after(() => app.stop())
      const files = await recipe.files()
      const configs = files.map((text, index) => {
        const file = join(folder, `${index}.cfg`)
        writeFileSync(file, forLoopback(text, app, service))
        return file
      })
      haproxy = await startHaproxy({
        verifier: service.address,
        application: app.address,
        configs,
        env: recipe.verifierConfig.includes('callerKeyFile')
          ? { ENTRA_AUTH_CALLER_KEY: 'a-key-of-these-tests' }
          : {},
      })
      life.after(() => haproxy.stop())
    })
    after(async () => {
      for (const cleanUp of cleanUps.reverse()) await cleanUp()
    })

    for (const [title, check] of cases) {
      it(title, async () => {
        await eventually(
          () => ask(haproxy.port),
          ({ status }) => status !== 503,
        )
        app.requests.length = 0
        await check({ port: haproxy.port, app, authority })
      })
    }

    it('refuses everything with 503 when the verifier is gone', async () => {
      app.requests.length = 0
      service.kill('SIGKILL')
      await service.exited
      const token = await authority.token('alice')
      const reply = await ask(haproxy.port, { headers: [['Authorization', `Bearer ${token}`]] })
      assert.equal(reply.status, 503)
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['verifier_unavailable'])
      assert.deepEqual(app.requests, [])
    })
  })
}

/** The same configuration with the stand-in for Entra, and with files that this machine has. */
function forTest(config: string, authority: Authority, folder: string): string {
  const moved = config
    .replaceAll(/KeyFile: \S+?(?=[\s}])/g, `KeyFile: ${join(folder, 'key')}`)
    .replaceAll('/var/lib/haproxy-entra-auth', folder)
    .replace(/^listen: .*\n/m, '')
    .replace(/^metrics: .*\n/m, '')
  const edited = moved.replace(
    `contoso: ${contoso}`,
    `contoso: { id: ${contoso}, authority: ${authority.origin} }`,
  )
  assert.notEqual(edited, moved)
  return edited
}

/** The same lines with the addresses of this test, and with the probe that the start waits for. */
function forLoopback(text: string, app: EchoApp, service: ServiceProcess): string {
  return text
    .replaceAll('127.0.0.1:3000', app.address)
    .replaceAll(/127\.0\.0\.1:(8080|14481)\b/g, service.address)
    .replace(/^ +setenv ENTRA_AUTH_LUA_FILE .*\n/m, '')
    .replace(/^frontend www.*\n/m, (line) => `${line}    monitor-uri /haproxy-livez\n`)
}
