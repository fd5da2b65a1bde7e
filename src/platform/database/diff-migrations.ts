import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import pg from 'pg'
import { readMigrations, toMigrationList } from './migrations.ts'
import { createSchemaEngine, noSchemaFilters } from './schema-engine.ts'

export type DiffMigrationsOptions = {
  /** An empty database; it is used up. */
  connectionString: string
  migrationsFolder: string
  /** Of `schema.prisma`. */
  schemaPath: string
}

/**
 * What the migrations make and Prisma sees, but its datamodel cannot say: a generated column. (Partial indexes, checks,
 * triggers and functions it does not see at all.)
 */
export const beyondDatamodel: readonly string[] = ['ALTER TABLE "task" DROP COLUMN "claim_order"']

/**
 * The SQL that leads from what the migrations make to what the datamodel says, except what the datamodel cannot say. Empty
 * when they agree. For developers.
 */
export async function diffMigrations(options: DiffMigrationsOptions): Promise<string> {
  const { connectionString, migrationsFolder, schemaPath } = options
  const migrations = await readMigrations(migrationsFolder)
  const content = await readFile(schemaPath, 'utf8')
  const pool = new pg.Pool({ connectionString, max: 1 })
  const shadowPool = new pg.Pool({ connectionString, max: 1 })
  try {
    const engine = await createSchemaEngine({ pool, shadowPool })
    const { stdout } = await engine.diff({
      from: { tag: 'migrations', ...toMigrationList(migrationsFolder, migrations) },
      to: { tag: 'schemaDatamodel', files: [{ path: basename(schemaPath), content }] },
      script: true,
      exitCode: null,
      filters: noSchemaFilters,
    })
    return withoutBeyond(stdout ?? '')
  } finally {
    await Promise.all([pool.end(), shadowPool.end()])
  }
}

// It may stand alone or be the first of several changes of its table.
function withoutBeyond(sql: string): string {
  const without = beyondDatamodel.reduce((text, statement) => {
    const table = /^ALTER TABLE "[^"]+" /.exec(statement)?.[0] ?? ''
    return text.replace(`-- AlterTable\n${statement};\n`, '').replace(`${statement},\n`, table)
  }, sql)
  return without.trim() === '' || without.includes('This is an empty migration') ? '' : without
}
