import DataLoader from 'dataloader'

/** Collects the keys that are asked for in one turn of the event loop and loads them together. */
export type BatchLoader<Key, Value> = { load(key: Key): Promise<Value> }

/**
 * Makes a loader from `load`, which answers in the order of its keys; keys may repeat. It does not remember: in a document with
 * two mutations the second answer must show what the second has changed.
 */
export function batchLoader<Key, Value>(
  load: (keys: readonly Key[]) => Promise<readonly Value[]>,
): BatchLoader<Key, Value> {
  // Every operation has all loaders, and uses few.
  let loader: DataLoader<Key, Value> | null = null
  return { load: (key) => (loader ??= new DataLoader(load, { cache: false })).load(key) }
}

/** Makes loaders for keys that come with options: what comes with equal options is loaded together. */
export function batchLoadersBy<Options, Key, Value>(
  load: (keys: readonly Key[], options: Options) => Promise<readonly Value[]>,
): (options: Options) => BatchLoader<Key, Value> {
  const loaders = new Map<string, BatchLoader<Key, Value>>()
  return (options) => {
    const name = JSON.stringify(options)
    const loader = loaders.get(name) ?? batchLoader((keys: readonly Key[]) => load(keys, options))
    loaders.set(name, loader)
    return loader
  }
}
