import { expect, test } from 'vitest'
import { UsageError } from '../../src/cli/command.ts'
import { migrate } from '../../src/cli/migrate.ts'
import { DataDirectoryInUseError, lockDataDirectory } from '../../src/platform/database/data-directory-lock.ts'
import { migrationsFolder, readMigrations } from '../../src/platform/database/migrations.ts'
import { copyTemplateDataDirectory, makeDataDirectory } from '../support/data-directory.ts'
import { startTestDatabase } from '../support/test-database.ts'

async function run(dataDirectory: string, ...args: string[]): Promise<string[]> {
  const lines: string[] = []
  const env = { NODE_ENV: 'test', MONK_DATA_DIR: dataDirectory }
  await migrate({ args, env, output: (line) => lines.push(line) })
  return lines
}

test('works through the running server', async () => {
  await using db = await startTestDatabase()
  expect(await run(db.dataDirectory)).toEqual(['The database is up to date.'])
})

test('works without a server', { timeout: 60_000 }, async () => {
  await using data = await copyTemplateDataDirectory()
  expect(await run(data.dataDirectory)).toEqual(['The database is up to date.'])
  await using empty = await makeDataDirectory()
  const names = (await readMigrations(migrationsFolder)).map(({ name }) => `  ${name}`)
  expect(await run(empty.dataDirectory)).toEqual([['Applied:', ...names].join('\n')])
})

test('refuses while a server is starting', async () => {
  await using data = await makeDataDirectory()
  await using _lock = await lockDataDirectory(data.dataDirectory)
  await expect(run(data.dataDirectory)).rejects.toBeInstanceOf(DataDirectoryInUseError)
})

test.each([['sideways'], ['new'], ['new', 'Not A Name'], ['resolve', 'x'], ['resolve', 'x', 'somehow']])(
  'says how it is used when it is asked for %s %s',
  async (...args) => {
    await expect(run('/nowhere', ...args)).rejects.toBeInstanceOf(UsageError)
  },
)
