import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isNavigation, isOwnRequest } from '../../src/sign-in/navigation.ts'
import { problemOf, readDetails } from '../../src/sign-in/problems.ts'

const going = {
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
  'sec-fetch-site': 'none',
}
const origin = 'https://portal.contoso.com'

describe('a navigation', () => {
  it('is a GET for a document', () => {
    assert.equal(isNavigation('GET', going), true)
    assert.equal(isNavigation('GET', { ...going, 'sec-fetch-site': 'cross-site' }), true)
    assert.equal(isNavigation('GET', { ...going, purpose: 'no-preview' }), true)
    for (const method of ['POST', 'HEAD', 'PUT', 'get']) {
      assert.equal(isNavigation(method, going), false)
    }
  })

  it('is no frame, image, script, prefetch or prerender', () => {
    for (const more of [
      { 'sec-fetch-dest': 'iframe' },
      { 'sec-fetch-dest': 'image', 'sec-fetch-mode': 'no-cors' },
      { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
      { 'sec-fetch-mode': 'websocket' },
      { 'sec-fetch-dest': undefined },
      { 'sec-purpose': 'prefetch;prerender' },
      { 'sec-purpose': 'prefetch' },
      { purpose: 'prefetch' },
      { 'x-moz': 'prefetch' },
      { 'x-purpose': 'preview' },
      { purpose: 'Prerender' },
    ]) {
      assert.equal(isNavigation('GET', { ...going, ...more }), false, JSON.stringify(more))
    }
  })

  it('is a request for HTML if the browser sends no Fetch Metadata', () => {
    const accept = 'text/html,application/xhtml+xml'
    assert.equal(isNavigation('GET', { accept }), true)
    assert.equal(isNavigation('GET', { accept: 'application/json' }), false)
    assert.equal(isNavigation('GET', {}), false)
    assert.equal(isNavigation('GET', { accept, 'x-requested-with': 'XMLHttpRequest' }), false)
    assert.equal(isNavigation('GET', { accept, 'sec-fetch-site': 'same-origin' }), false)
    assert.equal(isNavigation('GET', { accept, 'sec-fetch-user': '?1' }), false)
    assert.equal(isNavigation('GET', { accept, purpose: 'prefetch' }), false)
  })
})

describe('a request with a session', () => {
  it('counts as from this site if it only reads or comes from this site', () => {
    for (const [method, headers] of [
      ['GET', { 'sec-fetch-site': 'cross-site' }],
      ['HEAD', {}],
      ['OPTIONS', {}],
      ['POST', { 'sec-fetch-site': 'same-origin' }],
      ['POST', { 'sec-fetch-site': 'none' }],
      ['DELETE', { origin }],
      ['GET', { upgrade: 'websocket', origin }],
    ] as const) {
      assert.equal(isOwnRequest(method, headers, origin), true, method)
    }
  })

  it('is foreign where it changes something or opens a WebSocket from elsewhere', () => {
    for (const [method, headers] of [
      ['POST', {}],
      ['POST', { 'sec-fetch-site': 'same-site', origin }],
      ['POST', { 'sec-fetch-site': 'cross-site' }],
      ['POST', { origin: 'null' }],
      ['POST', { origin: 'http://portal.contoso.com' }],
      ['POST', { origin: 'https://portal.contoso.com.evil.example' }],
      ['PROPFIND', {}],
      ['GET', { 'sec-websocket-key': 'x' }],
      ['GET', { 'sec-websocket-version': '13' }],
      ['GET', { 'sec-fetch-mode': 'websocket', 'sec-fetch-site': 'cross-site' }],
      ['GET', { upgrade: 'websocket' }],
      ['GET', { upgrade: 'WebSocket', origin: 'https://evil.example' }],
      ['GET', { upgrade: 'h2c, websocket', 'sec-fetch-site': 'cross-site' }],
    ] as const) {
      assert.equal(isOwnRequest(method, headers, origin), false, method)
    }
  })
})

describe('an error of Entra', () => {
  it('shows a number and a correlation id of an exact form, and nothing else', () => {
    const id = '8a1a9ac5-5b2f-4a54-8d5b-3ab5ae4e3b1f'
    assert.deepEqual(readDetails(`AADSTS50105: x Correlation ID: ${id} y`), {
      number: 'AADSTS50105',
      correlationId: id,
    })
    for (const text of [
      'AADSTS1',
      'xAADSTS50105x',
      'AADSTS123456789',
      'Correlation ID: x',
      '',
      7,
      ['AADSTS50105'],
    ]) {
      assert.deepEqual(readDetails(text), { number: undefined, correlationId: undefined })
    }
  })

  it('is judged by its OAuth error alone', () => {
    assert.equal(problemOf('access_denied'), 'access_denied')
    assert.equal(problemOf('unauthorized_client'), 'invalid_client')
    assert.equal(problemOf('credential'), 'invalid_client')
    assert.equal(problemOf('AADSTS7000222'), 'sign_in_failed')
    assert.equal(problemOf('__proto__'), 'sign_in_failed')
  })
})
