import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { diffMigrations } from '../platform/database/diff-migrations.ts'
import { startEmbeddedPostgres } from '../platform/database/embedded-postgres.ts'
import { migrationsFolder } from '../platform/database/migrations.ts'
import { UsageError } from './command.ts'

/**
 * Writes the migration that leads from the ones that are there to `prisma/schema.prisma`, and says where. It compares in an
 * embedded Postgres of its own, thrown away afterwards.
 */
export async function writeMigration(name: string, now: Date): Promise<string> {
  if (!/^[a-z][a-z0-9_]*$/.test(name)) throw new UsageError(['monk migrate new <name>, in lower_case_words'])
  const sql = await diffInScratch()
  if (sql === '') return 'The migrations say what the datamodel says: there is nothing to write.'

  const stamp = now.toISOString().replaceAll(/\D/g, '').slice(0, 14)
  const folder = join(migrationsFolder, `${stamp}_${name}`)
  await mkdir(folder)
  await writeFile(join(folder, 'migration.sql'), sql)
  return `Written: ${folder}/migration.sql\nRead it, and add what Prisma cannot say (checks, partial indexes).`
}

async function diffInScratch(): Promise<string> {
  const dataDirectory = await mkdtemp(join(tmpdir(), 'monk-diff-'))
  try {
    const postgres = await startEmbeddedPostgres({
      dataDirectory,
      idleInTransactionMs: 60_000,
      onCrash(error) {
        throw error
      },
    })
    try {
      const schemaPath = join(migrationsFolder, '../schema.prisma')
      return await diffMigrations({ connectionString: postgres.connectionString, migrationsFolder, schemaPath })
    } finally {
      await postgres.close()
    }
  } finally {
    await rm(dataDirectory, { recursive: true, force: true })
  }
}
