/**
 * The script of the operator's page. It sends the pasted token, and the admin key if there is one,
 * to its own server in headers, and shows the answer. It stores the key in a variable and stores
 * nothing elsewhere. The browser parses the pages it loads; the script builds no HTML from text, so
 * it needs no trusted type.
 */
export const pageScript = String.raw`'use strict'
;(() => {
  let key
  // How often each part of the page was asked for: only the answer to the last question is shown.
  const asked = {}
  function load(path, headers) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest()
      request.open('GET', path)
      request.responseType = 'document'
      request.timeout = 30000
      request.setRequestHeader('Accept', 'text/html')
      if (key !== undefined) request.setRequestHeader('Authorization', 'Bearer ' + key)
      for (const [name, value] of Object.entries(headers || {})) request.setRequestHeader(name, value)
      request.onloadend = () => resolve({ status: request.status, page: request.response })
      request.send()
    })
  }
  function describe(status) {
    if (status === 0) return 'The service does not answer. Is it running? Try again.'
    if (status === 403) return 'The service takes another admin key now. Reload the page to enter it.'
    return 'The service answered ' + status + '.'
  }
  function say(id, text) {
    document.getElementById(id).textContent = text
  }
  async function show(path, part) {
    const turn = (asked[part] = (asked[part] || 0) + 1)
    const { status, page } = await load(path)
    if (turn !== asked[part]) return undefined
    const found = page && page.getElementById(part)
    const shown = document.getElementById(part)
    if (status !== 200 || !found) {
      const notice = document.getElementById('notice')
      if (notice) {
        const old = ' This page still shows what it had before.'
        notice.textContent = (status === 200 ? 'The answer is not from this service.' : describe(status)) + old
      }
      return status
    }
    shown.replaceWith(found)
    if (part !== 'page') say('notice', '')
    const heading = found.querySelector('h1, h2')
    heading.tabIndex = -1
    heading.focus()
    return status
  }
  function tokenIn(text) {
    const trimmed = text.trim()
    let found = trimmed
    if (/^["{]/.test(trimmed)) {
      try {
        const value = JSON.parse(trimmed)
        found = typeof value === 'string' ? value : value.access_token || value.accessToken || value.Token || value.token
      } catch {}
    }
    return String(found)
      .replace(/^(proxy-)?authorization\s*:\s*/i, '')
      .replace(/^bearer\s+/i, '')
      .replace(/\s+/g, '')
  }
  async function explain(form) {
    const token = tokenIn(form.querySelector('textarea').value)
    if (token === '' || /[^!-~]/.test(token)) return say('explanation', 'Paste an access token first.')
    if (token.length > 20000) return say('explanation', 'This is too long for an access token.')
    say('explanation', 'Checking …')
    const turn = (asked.explanation = (asked.explanation || 0) + 1)
    const policy = encodeURIComponent(form.querySelector('select').value)
    const { status, page } = await load('/page/explain/' + policy, { 'X-Entra-Auth-Token': 'Bearer ' + token })
    if (turn !== asked.explanation) return
    const found = page && page.getElementById('explanation')
    if (status === 200 && found) document.getElementById('explanation').replaceWith(found)
    else say('explanation', 'No explanation. ' + describe(status))
  }
  async function unlock(form) {
    const input = form.querySelector('input')
    const text = input.value.trim()
    if (!/^[!-~]+$/.test(text)) return say('denied', 'This is no admin key.')
    key = text
    const status = await show('/', 'page')
    if (status === 200 || status === undefined) return
    key = undefined
    say('denied', status === 403 ? 'This is not the admin key.' : describe(status))
    input.focus()
  }
  document.addEventListener('submit', (event) => {
    const form = event.target
    if (form.id === 'token-form') {
      event.preventDefault()
      void explain(form)
    } else if (form.id === 'key-form') {
      event.preventDefault()
      void unlock(form)
    } else {
      event.preventDefault()
      void show('/?' + new URLSearchParams(new FormData(form)), form.dataset.part)
    }
  })
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[data-part]')
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return
    event.preventDefault()
    void show(link.getAttribute('href'), link.dataset.part)
  })
})()
`
