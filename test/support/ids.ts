/** Ids of the fixture; each is used for one thing only, so that a mix-up shows. */
export const ids = {
  /** Tenant that is configured. */
  contoso: '11111111-1111-4111-8111-111111111111',
  /** Second tenant that is configured. */
  fabrikam: '22222222-2222-4222-8222-222222222222',
  /** Genuine tenant that is not configured. */
  stranger: '99999999-9999-4999-8999-999999999999',
  /** Tenant of personal Microsoft accounts; the same everywhere. */
  consumers: '9188040d-6c67-4c5b-b112-36a304b66dad',
  api: 'a0000000-0000-4000-8000-00000000000a',
  otherApi: 'b0000000-0000-4000-8000-00000000000b',
  client: 'c1000000-0000-4000-8000-0000000000c1',
  otherClient: 'c2000000-0000-4000-8000-0000000000c2',
  user: 'd0000000-0000-4000-8000-00000000000d',
  app: 'e0000000-0000-4000-8000-00000000000e',
  group: 'f1000000-0000-4000-8000-0000000000f1',
  otherGroup: 'f2000000-0000-4000-8000-0000000000f2',
} as const

export const appIdUri = `api://${ids.api}`

/** The instant at which each service starts. */
export const startMs = Date.UTC(2026, 0, 15, 12)
export const startSeconds = startMs / 1000
