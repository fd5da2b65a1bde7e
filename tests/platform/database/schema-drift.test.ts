import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { expect, inject, test } from 'vitest'
import { diffMigrations } from '../../../src/platform/database/diff-migrations.ts'
import { startEmbeddedPostgres } from '../../../src/platform/database/embedded-postgres.ts'
import { migrationsFolder } from '../../../src/platform/database/migrations.ts'
import { copyTemplateDataDirectory } from '../../support/data-directory.ts'

const schemaPath = join(migrationsFolder, '../schema.prisma')

test('the migrations make what the datamodel says, and a change without one is seen', { timeout: 90_000 }, async () => {
  await using empty = await startEmpty()
  expect(await diffMigrations({ ...empty, migrationsFolder, schemaPath })).toBe('')

  await empty.clear()
  const schema = await readFile(schemaPath, 'utf8')
  const changed = join(inject('scratchFolder'), 'changed.prisma')
  await writeFile(changed, schema.replace('model Task {', 'model Task {\n  extra Int?'))
  const sql = await diffMigrations({ ...empty, migrationsFolder, schemaPath: changed })
  expect(sql).toBe('-- AlterTable\nALTER TABLE "task" ADD COLUMN     "extra" INTEGER;\n')
})

async function startEmpty() {
  const data = await copyTemplateDataDirectory()
  const postgres = await startEmbeddedPostgres({
    ...data,
    idleInTransactionMs: 60_000,
    onCrash(error) {
      throw error
    },
  })
  const { connectionString } = postgres
  async function clear(): Promise<void> {
    const client = new pg.Client({ connectionString })
    await client.connect()
    await client.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public')
    await client.end()
  }
  await clear()
  return {
    connectionString,
    clear,
    async [Symbol.asyncDispose]() {
      await postgres.close()
      await data[Symbol.asyncDispose]()
    },
  }
}
