/** One mistake in the configuration: where it is, what is wrong, what to do about it. */
export interface Problem {
  /** The key, such as `policies.orders.allow[0].roles`, or the name of an environment variable. */
  readonly path: string
  /** What is wrong, as the end of a sentence that begins with the path. */
  readonly message: string
  /** What to do, as a sentence. */
  readonly hint: string
  /** Line in the file, from 1; absent for environment variables. */
  readonly line?: number
}

/** Takes a mistake from a check; `path` holds the keys and list indices from the root. */
export type Report = (path: Path, message: string, hint: string) => void

/** Keys and list indices from the root of the configuration. */
export type Path = readonly (string | number)[]

/** The path as it is shown: `policies.orders.allow[0]`; a key that is not a plain word is quoted. */
export function formatPath(path: Path): string {
  let shown = ''
  for (const part of path) {
    if (typeof part === 'number') shown += `[${part}]`
    else if (!/^[\w-]+$/.test(part)) shown += `[${quote(part)}]`
    else shown += shown === '' ? part : `.${part}`
  }
  return shown === '' ? '(file)' : shown
}

/** A value from the configuration as one short quoted word on one line. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text)
}

/**
 * One report of all problems: the first line counts them and names the file (or the environment),
 * then follows exactly one line for each problem.
 */
export function formatProblems(problems: readonly Problem[], file?: string): string {
  const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`
  const lines = problems.map(({ path, message, hint, line }) => {
    const where = line === undefined ? path : `${path} (line ${line})`
    return `  ${oneLine(`${where}: ${message}. ${hint}`)}`
  })
  return [`Configuration: ${count} in ${oneLine(file ?? 'the environment')}`, ...lines].join('\n')
}

/**
 * Escapes control, format and bidirectional characters. Without this, a key, a file name or a claim
 * could add lines to a report, or rearrange what a terminal shows.
 */
export function oneLine(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  )
}
