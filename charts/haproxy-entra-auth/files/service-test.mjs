// `helm test` runs this in the image of the service: it is ready, and refuses who brings no token.
const { VERIFIER_URL, POLICY } = process.env

async function ask(path, isExpected) {
  const { status, headers } = await fetch(VERIFIER_URL + path, {
    signal: AbortSignal.timeout(10_000),
  })
  const verdict = headers.get('x-entra-auth-verdict')
  const reason = headers.get('x-entra-auth-reason')
  process.stdout.write(`GET ${path}: ${[status, verdict, reason].filter(Boolean).join(' ')}\n`)
  if (!isExpected(status, verdict)) process.exitCode = 1
}

await ask('/readyz', (status) => status === 200)
// Which refusal depends on the configuration: this pod has no caller key either.
await ask(`/verify/${POLICY}`, (status, verdict) => verdict === 'deny' && status !== 200)
