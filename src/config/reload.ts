import { type ConfigSource, type LoadResult, loadConfig } from './load.ts'

/** A configuration source that is looked at again and again. */
export interface ConfigReloader {
  /** Loads whether or not anything changed, as SIGHUP asks for. */
  load(): Promise<LoadResult>
  /** Whether the text of a file that was read last time is another one now. */
  hasChanged(): Promise<boolean>
  /** Loads if that is so. */
  loadIfChanged(): Promise<LoadResult | undefined>
}

/** A load with the texts it saw, by path; undefined for a file that could not be read. */
export interface RecordedLoad {
  readonly result: LoadResult
  readonly texts: ReadonlyMap<string, string | undefined>
}

/** Loads the configuration and keeps the texts, to compare them with later ones. */
export async function loadAndRecord(source: ConfigSource): Promise<RecordedLoad> {
  const texts = new Map<string, string | undefined>()
  const result = await loadConfig({
    ...source,
    async readFile(path) {
      texts.set(path, undefined)
      const text = await source.readFile(path)
      texts.set(path, text)
      return text
    },
  })
  return { result, texts }
}

/**
 * Creates the reloader. Texts are compared, not times or inodes: Kubernetes swaps a symbolic link
 * two levels up, editors write beside and rename, and both are a changed text in the end. The first
 * load is done here; `loadAgain` does the later ones, and `readAgain` the looks at each file, while
 * requests are answered. `readAgain` is given the text that the file had.
 */
export function createConfigReloader(
  source: ConfigSource,
  loadAgain: () => Promise<RecordedLoad>,
  readAgain: (path: string, former: string | undefined) => Promise<string | undefined>,
): ConfigReloader {
  let known: RecordedLoad['texts'] | undefined

  async function load(): Promise<LoadResult> {
    const { result, texts } = await (known ? loadAgain() : loadAndRecord(source))
    known = texts
    return result
  }

  async function hasChanged(): Promise<boolean> {
    for (const [path, text] of known ?? []) if ((await readAgain(path, text)) !== text) return true
    return false
  }

  return {
    load,
    hasChanged,
    loadIfChanged: async () => ((await hasChanged()) ? load() : undefined),
  }
}
