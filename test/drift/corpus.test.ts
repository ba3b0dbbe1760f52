/**
 * Configurations as people have them: packages of distributions, ingress controllers, routers, login
 * portals, folders. The table says what is to be found in each, and nothing else may be.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { describe, it } from 'node:test'
import { checkHaproxy } from '../../src/drift/haproxy.ts'
import { parseHaproxyFiles } from '../../src/drift/haproxy-file.ts'
import { cleanConfig } from './fixture.ts'

const folder = new URL('corpus/', import.meta.url)

/** Code and section of each finding; policies that are used nowhere are left out. */
const expected: Readonly<Record<string, readonly string[]>> = {
  'package-default.cfg': ['zero-warning-missing', 'noreuseport-missing', 'buffers-small'],
  'package-example.cfg': [
    'zero-warning-missing',
    'noreuseport-missing',
    'buffers-small',
    'action-missing backend files',
    'action-missing backend apps',
  ],
  'tcp-services.cfg': ['zero-warning-missing', 'noreuseport-missing', 'buffers-small'],
  'ingress-maps.cfg': [],
  'ingress-one-map.cfg': [],
  'portal-script.cfg': [
    'zero-warning-missing',
    'noreuseport-missing',
    'buffers-small',
    'action-missing backend be_portal',
    'action-missing backend be_login',
    'action-missing backend be_notes',
    'action-missing backend be_wiki',
  ],
  'portal-moved.cfg': [
    'identity-overwritten backend notes',
    'strip-missing frontend fe_http',
    'path-ambiguous frontend fe_http',
  ],
  'one-container.cfg': [],
  'router-template.cfg': [
    'zero-warning-missing',
    'noreuseport-missing',
    'buffers-small',
    'action-missing backend be_edge_http:shop:web',
  ],
  'limits.cfg': [],
  'layered-defaults.cfg': [],
  'layered-forgotten.cfg': [
    'action-missing backend reports',
    'connect-unprotected frontend partner',
    'connection-unprotected frontend partner',
    'path-bypass frontend https',
    'strip-missing frontend partner',
    'upgrade-unprotected frontend partner',
  ],
  'switched.cfg': ['mode-not-http frontend multi', 'tcp-bypass backend tls'],
  'accepted.cfg': ['action-missing backend app'],
  'conditional.cfg': [
    'backend-unreached backend orders-new',
    'connect-unprotected backend orders-new',
    'connection-unprotected backend orders-new',
    'guard-weak backend orders',
    'strip-missing backend orders-new',
    'strip-missing frontend www',
    'upgrade-unprotected backend orders-new',
  ],
  'gateway.cfg': [],
  'old-style.cfg': [
    'zero-warning-missing',
    'noreuseport-missing',
    'buffers-small',
    'action-missing listen webfarm',
    'action-missing backend bk_api',
  ],
  'site.d': [],
}

describe('drift on a configuration as people have it', () => {
  it('is tried on each file of the corpus', () => {
    assert.deepEqual(readdirSync(folder).toSorted(), Object.keys(expected).toSorted())
  })

  for (const [name, findings] of Object.entries(expected)) {
    it(`finds exactly the expected findings: ${name}`, () => {
      const parsed = parseHaproxyFiles(filesOf(name))
      const found = checkHaproxy(parsed, cleanConfig).findings
      assert.deepEqual(
        found
          .filter(({ code }) => code !== 'policy-unused')
          .map(({ code, place }) => {
            const section = 'file' in place ? (place.section ?? 'global') : ''
            return section === 'global' ? code : `${code} ${section}`
          })
          .toSorted(),
        findings.toSorted(),
      )
    })
  }
})

function filesOf(name: string): { name: string; text: string }[] {
  const path = new URL(name, folder)
  const read = (file: URL, shown: string) => ({ name: shown, text: readFileSync(file, 'utf8') })
  if (!statSync(path).isDirectory()) return [read(path, name)]
  return readdirSync(path)
    .toSorted()
    .map((file) => read(new URL(`${name}/${file}`, folder), `${name}/${file}`))
}
