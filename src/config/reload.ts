import { type ConfigSource, type LoadResult, loadConfig } from './load.ts'

/** A configuration source that is looked at again and again. */
export interface ConfigReloader {
  /** Loads whether or not anything changed, as SIGHUP asks for. */
  load(): Promise<LoadResult>
  /** Loads if the text of a file that was read last time is another one now. */
  loadIfChanged(): Promise<LoadResult | undefined>
}

/**
 * Creates the reloader. Texts are compared, not times or inodes: Kubernetes swaps a symbolic link
 * two levels up, editors write beside and rename, and both are a changed text in the end.
 */
export function createConfigReloader(source: ConfigSource): ConfigReloader {
  let texts = new Map<string, string | undefined>()

  async function read(path: string): Promise<string | undefined> {
    try {
      return await source.readFile(path)
    } catch {
      return undefined
    }
  }

  async function load(): Promise<LoadResult> {
    const seen = new Map<string, string | undefined>()
    const result = await loadConfig({
      ...source,
      async readFile(path) {
        seen.set(path, undefined)
        const text = await source.readFile(path)
        seen.set(path, text)
        return text
      },
    })
    texts = seen
    return result
  }

  return {
    load,
    async loadIfChanged() {
      for (const [path, text] of texts) if ((await read(path)) !== text) return load()
      return undefined
    },
  }
}
