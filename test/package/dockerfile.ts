/** Enough of a Dockerfile to check its rules and to carry out its COPY and RUN without an engine. */

export interface Instruction {
  readonly name: string
  /** The rest of the line, continuation lines joined. */
  readonly text: string
}

export interface Stage {
  readonly image: string
  /** Undefined for the last stage, which nobody copies from. */
  readonly name: string | undefined
  readonly instructions: readonly Instruction[]
}

/** A COPY with its sources; `from` names a stage, or is undefined for the build context. */
export interface Copy {
  readonly from: string | undefined
  readonly sources: readonly string[]
  readonly target: string
}

/** The stages of a Dockerfile, in order. Throws for what this project does not use. */
export function parseDockerfile(text: string): Stage[] {
  const lines = text
    .replace(/^\s*#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
  const stages: { image: string; name: string | undefined; instructions: Instruction[] }[] = []
  for (const line of lines) {
    const [, name, rest] = /^([A-Z]+) +(.+)$/.exec(line) ?? []
    if (!name || !rest) throw new Error(`not understood: ${line}`)
    if (name !== 'FROM') {
      const stage = stages.at(-1)
      if (!stage) throw new Error(`before the first FROM: ${line}`)
      stage.instructions.push({ name, text: rest })
      continue
    }
    const [, image = '', stageName] = /^(\S+)(?: AS (\S+))?$/.exec(rest) ?? []
    stages.push({ image, name: stageName, instructions: [] })
  }
  return stages
}

/** All instructions of one kind in a stage. */
export function textsOf({ instructions }: Stage, name: string): string[] {
  return instructions.filter((one) => one.name === name).map(({ text }) => text)
}

export function parseCopy(text: string): Copy {
  const [, from, paths = ''] = /^(?:--from=(\S+) )?(.+)$/.exec(text) ?? []
  const words = paths.split(/\s+/)
  return { from, sources: words.slice(0, -1), target: words.at(-1) ?? '' }
}
