/**
 * The shipped configuration with time-outs of seconds for the verifier. On a busy machine a verdict
 * can take longer than a second, and tests that count failures would count that. Throws if the
 * time-outs are not the shipped ones.
 */
export function givePatience(config: string): string {
  const edits: readonly (readonly [string, string])[] = [
    ['timeout connect 200ms', 'timeout connect 3s\n    timeout check 5s'],
    ['timeout queue   200ms', 'timeout queue 3s'],
    ['timeout server  1s', 'timeout server 5s'],
  ]
  return edits.reduce((text, [shipped, patient]) => {
    if (!text.includes(shipped)) throw new Error(`the configuration has no "${shipped}"`)
    return text.replace(shipped, patient)
  }, config)
}

/** The action waits for longer than the section that `givePatience` changes. */
export const patientTimeoutMs = '12000'
