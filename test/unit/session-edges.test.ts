/** The edges of src/session that mutation testing asked for. */
import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, describe, it } from 'node:test'
import { loginCookie, readCookies, sessionCookie } from '../../src/session/cookie.ts'
import { createHosts } from '../../src/session/hosts.ts'
import { createKeyFolder, rotationMs } from '../../src/session/key-folder.ts'
import { readSession, sealedHardEndOf } from '../../src/session/read-session.ts'
import { readSessionRequest } from '../../src/session/request.ts'
import { compileSessionRules, type SessionRules } from '../../src/session/rules.ts'
import { createSealingKey, open, seal } from '../../src/session/sealing.ts'
import {
  claimsOf,
  fingerprintOf,
  maxSessionCharacters,
  sealSession,
} from '../../src/session/session.ts'
import { ids, startMs, startSeconds } from '../support/ids.ts'
import { cookieOf, host, sealingKeys, sessionOf, webClient } from '../support/sessions.ts'

const noKeys = { sealing: undefined, get: () => undefined }

describe('the reading of a session', () => {
  const rules: SessionRules = {
    clientId: webClient,
    tenantId: ids.contoso,
    hosts: createHosts([host]),
    groups: new Set(),
    groupsLookedAt: fingerprintOf([]),
    recheckSeconds: 3_600,
    sessionSeconds: 8 * 3_600,
    clockSkewSeconds: 60,
  }

  it('is none for a value that does not open, at any host', () => {
    for (const at of [host, 'evil.example', undefined]) {
      const read = readSession(rules, sealingKeys, { cookie: 'garbage', host: at }, startMs)
      assert.deepEqual(read, { ok: false, failure: 'no_session' })
    }
  })

  it('has the hard end in its cookie where shorter hours end it earlier', () => {
    assert.equal(sealedHardEndOf({ hardEnd: 1, sealedHardEnd: 2 }), 2)
    assert.equal(sealedHardEndOf({ hardEnd: 1 }), 1)
  })

  it('is none from further ahead than the clocks may differ', () => {
    const read = (checkedAt: number) =>
      readSession(rules, sealingKeys, { cookie: cookieOf({ checkedAt }), host }, startMs)
    assert.equal(read(startSeconds + 60).ok, true)
    assert.deepEqual(read(startSeconds + 61), { ok: false, failure: 'no_session' })
  })

  it('keeps the end in the cookie where shorter hours end it earlier', () => {
    const sealedHardEnd = startSeconds + 8 * 3_600
    const read = (sessionSeconds: number) => {
      const found = readSession(
        { ...rules, sessionSeconds },
        sealingKeys,
        { cookie: cookieOf(), host },
        startMs,
      )
      return found.ok ? found.value : assert.fail(found.failure)
    }
    const { hardEnd, sealedHardEnd: kept } = read(3_600)
    assert.deepEqual([hardEnd, kept], [startSeconds + 3_600, sealedHardEnd])
    assert.deepEqual(read(8 * 3_600), sessionOf())
    assert.deepEqual(read(9 * 3_600), sessionOf())
  })
})

describe('the rules of sessions', () => {
  it('are in seconds, and none without the section signIn', () => {
    const section = { clientId: webClient, tenantId: ids.contoso, hosts: [host] }
    const live = {
      signIn: { ...section, recheckMinutes: 30, sessionHours: 2 },
      policies: [],
      clockSkewSeconds: 60,
    }
    const rules = compileSessionRules(live as never)
    assert.equal(rules?.recheckSeconds, 1_800)
    assert.equal(rules?.sessionSeconds, 7_200)
    assert.equal(compileSessionRules({ ...live, signIn: undefined } as never), undefined)
  })
})

describe('a cookie', () => {
  it('has the names that the browser keeps to one host', () => {
    assert.deepEqual([sessionCookie, loginCookie], ['__Host-entra-session', '__Host-entra-login'])
  })

  it('is not taken from a name behind a value that reads like one', () => {
    const pair = `${sessionCookie}=x`
    assert.deepEqual(readCookies(['X-Odd', 'cookie', pair, 'y'], sessionCookie), [])
    const odd = ['X-Odd', 'x-entra-auth-session', 'x', 'x-forwarded-host', host, 'y']
    assert.deepEqual(readSessionRequest(odd), { cookie: undefined, host: undefined })
  })

  it('is in no other header, and has a name and a value', () => {
    const pair = `${sessionCookie}=x`
    assert.deepEqual(readCookies(['X-Cookie', pair], sessionCookie), [])
    assert.deepEqual(readCookies(['Cookie', `${sessionCookie}x`], sessionCookie), [])
  })
})

describe('a sealed text at its limits', () => {
  it('may be empty, and has at most 4,096 characters', () => {
    assert.equal(open(sealingKeys, 'session', seal(sealingKeys, 'session', '') ?? ''), '')
    // 34 bytes of id, nonce and tag, and 3,038 of text are 4,096 characters of base64url.
    const longest = seal(sealingKeys, 'session', 'a'.repeat(3_038)) ?? ''
    assert.equal(longest.length, 4_096)
    assert.equal(open(sealingKeys, 'session', longest)?.length, 3_038)
    const longer = seal(sealingKeys, 'session', 'a'.repeat(3_039)) ?? ''
    assert.equal(open(sealingKeys, 'session', longer), undefined)
  })

  it('has keys that every version derives: RFC 5869 without salt', () => {
    const material = Buffer.from('the content of a key file, at least 32')
    const extracted = createHmac('sha256', Buffer.alloc(32)).update(material).digest()
    const expand = (info: string, bytes: number) =>
      createHmac('sha256', extracted).update(`${info}\u0001`).digest().subarray(0, bytes)
    const key = createSealingKey(material)
    assert.equal(key.id, expand('haproxy-entra-auth key id', 6).toString('base64url'))
    for (const purpose of ['session', 'login', 'state'] as const) {
      assert.deepEqual(
        key.keyFor(purpose).export(),
        expand(`haproxy-entra-auth seal ${purpose}`, 32),
      )
    }
  })
})

describe('a session at its limits', () => {
  it('is made up to 2,900 characters, and not without a key', () => {
    assert.equal(sealSession(noKeys, sessionOf()), undefined)
    const lengths = Array.from({ length: 2_000 }, (_, pad) => {
      const session = sessionOf({ name: 'n'.repeat(pad + 1) })
      return sealSession(sealingKeys, session)?.length ?? 0
    })
    assert.equal(Math.max(...lengths), maxSessionCharacters)
    assert.equal(lengths.at(-1), 0)
  })

  it('tells sets of groups apart that read the same without spaces', () => {
    assert.notEqual(fingerprintOf(['ab', 'c']), fingerprintOf(['a', 'bc']))
    assert.equal(fingerprintOf(['a']).length, 12)
  })

  it('is judged as a user of version 2.0, by nothing that an app says', () => {
    const { version, actor, appByIdtyp, appOnly } = claimsOf(sessionOf(), 'https://issuer/')
    assert.deepEqual(
      { version, actor, appByIdtyp, appOnly },
      {
        version: '2.0',
        actor: 'user',
        appByIdtyp: false,
        appOnly: false,
      },
    )
  })
})

describe('the folder of sealing keys at its limits', () => {
  const root = mkdtempSync(join(tmpdir(), 'sealing-edges-'))
  after(() => rmSync(root, { recursive: true }))
  let nowMs = startMs
  let folder = ''
  let count = 0
  let logged: [level: string, fields: object, message: string][] = []
  beforeEach(() => {
    nowMs = startMs
    folder = join(root, String(count++))
    logged = []
  })
  const log = {
    info: (fields: object, message: string) => void logged.push(['info', fields, message]),
    warn: (fields: object, message: string) => void logged.push(['warn', fields, message]),
  }
  const createFolder = () => createKeyFolder(folder, { clock: () => nowMs, log })
  const write = (name: string, text: string | Buffer) => {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  const idOf = (material: string | Buffer) => createSealingKey(Buffer.from(material)).id

  it('seals with nothing before it was read', () => {
    assert.equal(createFolder().sealing, undefined)
  })

  it('makes a folder and a key that only its own user can read', async () => {
    await createFolder().read()
    const [name = ''] = readdirSync(folder)
    assert.equal(statSync(folder).mode & 0o777, 0o700)
    assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600)
  })

  it('logs the names of keys when they have changed, and only then', async () => {
    const keys = createFolder()
    const namesLogged = async () => {
      logged = []
      await keys.read()
      return logged.map(([level, fields, message]) => {
        assert.deepEqual([level, message], ['info', 'sealing keys read'])
        return (fields as { keys: readonly string[] }).keys
      })
    }
    write('1', 'a'.repeat(32))
    assert.deepEqual(await namesLogged(), [['1']])
    assert.deepEqual(await namesLogged(), [])
    write('2', 'b'.repeat(32))
    assert.deepEqual(await namesLogged(), [['1', '2']])
    assert.deepEqual(await namesLogged(), [])
    // One of two is another one.
    write('2', 'c'.repeat(32))
    assert.deepEqual(await namesLogged(), [['1', '2']])
    assert.deepEqual(await namesLogged(), [])
    rmSync(join(folder, '1'))
    assert.deepEqual(await namesLogged(), [['2']])
  })

  it('names its keys in one way, in whatever order their files are', async () => {
    for (const name of ['1', '2', '3']) write(name, name.repeat(32))
    const ids = ['1', '2', '3'].map((name) => idOf(name.repeat(32))).sort()
    const keys = createFolder()
    await keys.read()
    const expected = createHash('sha256').update(ids.join(' ')).digest('base64url').slice(0, 8)
    assert.equal(keys.mark?.(), expected)
    write('0', '3'.repeat(32))
    await keys.read()
    assert.equal(keys.mark?.(), expected, 'the same key twice')
  })

  it('is renewed by replicas at the same moment, each of which removes the old keys', async () => {
    for (let month = 1; month <= 9; month++) {
      for (let day = 10; day <= 19; day++)
        write(`sealing-2020-0${month}-${day}.key`, `${month}-${day}`.padEnd(32, '.'))
    }
    const replicas = Array.from({ length: 8 }, createFolder)
    await Promise.all(replicas.map((keys) => keys.read()))
    assert.deepEqual(readdirSync(folder), ['sealing-2020-09-19.key', 'sealing-2026-01-15.key'])
    assert.deepEqual(
      logged.filter(([level]) => level === 'warn'),
      [],
    )
    for (const keys of replicas) assert.equal(keys.size, 2)
  })

  it('takes the first name as the oldest, in whatever order they were written', async () => {
    for (const name of ['5', '2', '8', '0', '7', '1', '9', '3', '6', '4']) {
      write(name, name.repeat(32))
    }
    write('.editor', 'x')
    const keys = createFolder()
    await keys.read()
    assert.equal(keys.size, 10)
    assert.equal(keys.sealing?.id, idOf('0'.repeat(32)))
  })

  it('takes off the end of a text only what whoever wrote it put there', async () => {
    const bytes = Buffer.alloc(32, 7)
    for (const [content, material] of [
      [`${'a'.repeat(32)}\r\n`, 'a'.repeat(32)],
      ['a'.repeat(1_024), 'a'.repeat(1_024)],
      [Buffer.concat([bytes, Buffer.from('a\n')]), Buffer.concat([bytes, Buffer.from('a\n')])],
      [
        Buffer.concat([Buffer.from('a'), bytes, Buffer.from('\n')]),
        Buffer.concat([Buffer.from('a'), bytes, Buffer.from('\n')]),
      ],
    ] as const) {
      write('1', content)
      const keys = createFolder()
      await keys.read()
      assert.equal(keys.sealing?.id, idOf(material))
    }
  })

  it('renews its own key at 30 days and not before', async () => {
    nowMs = Date.UTC(2026, 0, 15)
    const keys = createFolder()
    await keys.read()
    nowMs += rotationMs - 1
    await keys.read()
    assert.equal(readdirSync(folder).length, 1)
    nowMs += 1
    await keys.read()
    assert.equal(readdirSync(folder).length, 2)
  })

  it('renews and removes no key whose name only looks like its own', async () => {
    write('my-sealing-2020-01-01.key', 'a'.repeat(32))
    await createFolder().read()
    rmSync(join(folder, 'my-sealing-2020-01-01.key'))
    write('sealing-2020-01-01.key.old', 'a'.repeat(32))
    await createFolder().read()
    assert.deepEqual(readdirSync(folder), ['sealing-2020-01-01.key.old'])
    write('a.key', 'b'.repeat(32))
    write('sealing-2020-01-01.key', 'c'.repeat(32))
    rmSync(join(folder, 'sealing-2020-01-01.key.old'))
    await createFolder().read()
    assert.deepEqual(readdirSync(folder).sort(), [
      'a.key',
      'sealing-2020-01-01.key',
      'sealing-2026-01-15.key',
    ])
  })

  it('goes on with a full folder, and says why there is no new key', async () => {
    for (let i = 0; i < 99; i++) write(`a-${i}`, `${i}`.padEnd(32, '.'))
    write('sealing-2020-01-01.key', 'c'.repeat(32))
    const keys = createFolder()
    await keys.read()
    await keys.read()
    assert.equal(readdirSync(folder).length, 100)
    assert.deepEqual(logged.at(-1), [
      'warn',
      { reason: `${folder} has 100 files` },
      'no new sealing key could be made, the last one goes on',
    ])
  })
})
