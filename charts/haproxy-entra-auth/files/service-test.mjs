// `helm test` runs this in the image of the service: it is ready, and refuses who brings no token.
const { VERIFIER_URL, POLICY } = process.env

async function ask(path, isExpected) {
  const reply = await fetch(VERIFIER_URL + path, { signal: AbortSignal.timeout(10_000) }).catch(
    (error) => error.cause?.code ?? error.message,
  )
  if (typeof reply === 'string') {
    process.stdout.write(`GET ${VERIFIER_URL}${path}: no answer (${reply}); look at the pods\n`)
    process.exitCode = 1
    return
  }
  const verdict = reply.headers.get('x-entra-auth-verdict')
  const reason = reply.headers.get('x-entra-auth-reason')
  const said = [reply.status, verdict, reason].filter(Boolean).join(' ')
  process.stdout.write(`GET ${path}: ${said}\n`)
  if (!isExpected(reply.status, verdict)) process.exitCode = 1
}

await ask('/readyz', (status) => status === 200)
// Which refusal depends on the configuration: this pod has no caller key either.
await ask(`/verify/${POLICY}`, (status, verdict) => verdict === 'deny' && status !== 200)
