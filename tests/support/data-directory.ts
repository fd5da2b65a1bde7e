import { cp, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { inject } from 'vitest'

export type DataDirectory = { readonly dataDirectory: string } & AsyncDisposable

/** A data directory with an empty, migrated database, for `MONK_DATA_DIR`; disposing of it removes it. */
export async function copyTemplateDataDirectory(): Promise<DataDirectory> {
  const empty = await makeDataDirectory()
  await cp(join(inject('templateDataDirectory'), 'pg'), join(empty.dataDirectory, 'pg'), { recursive: true })
  return empty
}

/** An empty data directory; disposing of it removes it. */
export async function makeDataDirectory(): Promise<DataDirectory> {
  const dataDirectory = await mkdtemp(join(inject('scratchFolder'), 'data-'))
  return { dataDirectory, [Symbol.asyncDispose]: () => rm(dataDirectory, { recursive: true, force: true }) }
}
