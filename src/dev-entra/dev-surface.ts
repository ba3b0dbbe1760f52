import type { FastifyInstance } from 'fastify'
import type { DevEntraContext } from './context.ts'
import { clients, findClientByName, tokenExchange } from './directory.ts'
import { type FaultKind, type FaultTarget, faultKinds, faultTargets } from './faults.ts'
import { type KeyChoice, signToken } from './keys.ts'
import { findUser, personas } from './personas.ts'
import { type Refusal, refusalKinds } from './refusals.ts'
import type { RegistrationChanges } from './registrations.ts'
import type { RequestCounter } from './requests.ts'
import { IssueError, type IssueRequest } from './token-issuer.ts'

const stringList = { type: 'array', items: { type: 'string' } }
const anyObject = { type: 'object', additionalProperties: true }
const keyChoice = {
  type: 'string',
  pattern: '^(current|previous|unpublished|app:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12})$',
}
const textOrObject = { anyOf: [{ type: 'string' }, anyObject] }

const tokenSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['persona'],
  properties: {
    persona: { type: 'string' },
    audience: { type: 'string' },
    tenant: { type: 'string' },
    scopes: stringList,
    roles: stringList,
    version: { enum: ['1.0', '2.0'] },
    idToken: { type: 'boolean' },
    expiresInSeconds: { type: 'integer' },
    nonce: { type: 'string' },
    claims: anyObject,
    removeClaims: stringList,
    header: anyObject,
    removeHeader: stringList,
    key: keyChoice,
  },
}

const signSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['payload'],
  properties: { header: textOrObject, payload: textOrObject, key: keyChoice },
}

const faultSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['kind'],
  properties: {
    target: { enum: faultTargets },
    kind: { enum: Object.keys(faultKinds) },
    ms: { type: 'integer', minimum: 0 },
  },
}

const refusalSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['subject', 'kind'],
  properties: {
    subject: { type: 'string' },
    kind: { enum: ['none', ...Object.keys(refusalKinds)] },
  },
}

const registrationSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['client'],
  properties: {
    client: { type: 'string' },
    redirectUris: stringList,
    logoutUrl: { type: 'string', pattern: '^https?://' },
    certificate: { type: 'string' },
  },
}

const federatedSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    subject: { type: 'string' },
    audience: { type: 'string' },
    expiresInSeconds: { type: 'integer' },
  },
}

/** Adds what Entra has not: `/dev/*`, to order tokens, turn keys over and break things. */
export function addDevSurface(
  app: FastifyInstance,
  context: DevEntraContext,
  requests: RequestCounter,
): void {
  const { keyring, faults, issuer } = context
  const showKeys = async () => ({
    current: (await keyring.choose('current')).kid,
    published: (await keyring.list()).map(({ kid }) => kid),
  })

  app.post<{ Body: IssueRequest }>(
    '/dev/token',
    { schema: { body: tokenSchema } },
    async (request, reply) => {
      try {
        return await issuer.issue(request.body)
      } catch (failure) {
        if (!(failure instanceof IssueError)) throw failure
        return reply.code(400).send({ error: 'bad_request', message: failure.message })
      }
    },
  )

  app.post<{ Body: { header?: string | object; payload: string | object; key?: KeyChoice } }>(
    '/dev/sign',
    { schema: { body: signSchema } },
    async (request) => {
      const { header, payload, key = 'current' } = request.body
      const signingKey = await keyring.choose(key)
      const asText = (part: string | object) =>
        typeof part === 'string' ? part : JSON.stringify(part)
      const usual = { typ: 'JWT', alg: 'RS256', kid: signingKey.kid }
      return { token: signToken(asText(header ?? usual), asText(payload), signingKey) }
    },
  )

  app.get('/dev/keys', showKeys)
  app.post('/dev/rotate', async () => {
    await keyring.rotate()
    return showKeys()
  })
  app.post('/dev/withdraw', () => {
    keyring.withdraw()
    return showKeys()
  })

  app.post<{ Body: { target?: FaultTarget; kind: FaultKind; ms?: number } }>(
    '/dev/fault',
    { schema: { body: faultSchema } },
    (request, reply) => {
      const { target = 'keys', kind, ms = 2000 } = request.body
      if (!faults.set(target, { kind, ms })) {
        const message = `The ${target} endpoint has no fault "${kind}".`
        return reply.code(400).send({ error: 'bad_request', message })
      }
      return reply.send({ metadata: faults.get('metadata'), keys: faults.get('keys') })
    },
  )

  app.post<{ Body: { subject: string; kind: Refusal | 'none' } }>(
    '/dev/refusal',
    { schema: { body: refusalSchema } },
    (request, reply) => {
      const { subject, kind } = request.body
      const name = findUser(subject)?.name ?? findClientByName(subject)?.name
      const kindOfSubject = findUser(subject) ? 'persona' : 'client'
      if (name === undefined) {
        return reply
          .code(400)
          .send({ error: 'bad_request', message: `There is no person or client "${subject}".` })
      }
      if (kind === 'none') context.refusals.set(name, undefined)
      else {
        const subjects: readonly string[] = refusalKinds[kind].subjects
        if (!subjects.includes(kindOfSubject)) {
          const message = `A ${kindOfSubject} cannot be refused with "${kind}".`
          return reply.code(400).send({ error: 'bad_request', message })
        }
        context.refusals.set(name, kind)
        // As in Entra, disabling ends the sessions and revokes the refresh tokens.
        if (kind === 'disabled') {
          context.sessions.signOutEverywhere(name)
          context.signIns.revoke(name)
        }
      }
      return reply.send({ subject: name, kind })
    },
  )

  app.post<{ Body: RegistrationChanges & { client: string } }>(
    '/dev/registration',
    { schema: { body: registrationSchema } },
    (request, reply) => {
      const { client: name, ...changes } = request.body
      const client = findClientByName(name)
      const refuse = (message: string) => reply.code(400).send({ error: 'bad_request', message })
      if (!client) return refuse(`There is no client "${name}".`)
      try {
        context.registrations.change(client, changes)
      } catch {
        return refuse('The certificate is not one in PEM.')
      }
      return reply.send({ client: client.name, id: client.appId })
    },
  )

  app.post<{ Body: { subject?: string; audience?: string; expiresInSeconds?: number } }>(
    '/dev/federated-token',
    { schema: { body: federatedSchema } },
    async (request) => {
      const key = await keyring.choose('current')
      const [kubernetes] = clients.portal.federated
      const {
        subject = kubernetes.subject,
        audience = tokenExchange.uri,
        expiresInSeconds = 3600,
      } = request.body
      const iat = Math.floor(context.now() / 1000)
      const claims = {
        aud: [audience],
        exp: iat + expiresInSeconds,
        iat,
        iss: `${context.origin()}${kubernetes.issuerPath}`,
        nbf: iat,
        sub: subject,
      }
      const header = { alg: 'RS256', kid: key.kid }
      return { token: signToken(JSON.stringify(header), JSON.stringify(claims), key) }
    },
  )

  app.get('/dev/personas', () =>
    personas.map(({ name, kind, about, tenant, oid, scopes, roles }) => ({
      name,
      kind,
      about,
      tenant: tenant.id,
      oid,
      scopes,
      roles,
    })),
  )
  app.get('/dev/requests', () => requests.read())
  app.post('/dev/reset', () => {
    requests.reset()
    faults.clear()
    context.refusals.clear()
    return requests.read()
  })
}
