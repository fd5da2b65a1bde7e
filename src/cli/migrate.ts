import { createLogger } from '../platform/logger.ts'
import { applyMigrations, resolveMigration } from '../platform/database/apply-migrations.ts'
import type { ApplyMigrationsOptions } from '../platform/database/apply-migrations.ts'
import { UsageError } from './command.ts'
import type { Command, CommandContext } from './command.ts'
import { openPostgres } from './open-postgres.ts'

const usage = [
  'monk migrate                                         apply what is new',
  'monk migrate resolve <migration> rolled-back|applied after a failed one was looked at',
  'monk migrate new <name>                              write one from prisma/schema.prisma (development)',
]

export const migrate: Command = async (context) => {
  const [action, name, as] = context.args
  if (action === undefined) return apply(context)
  if (action === 'new' && name !== undefined && as === undefined) return write(context, name)
  if (action === 'resolve' && name !== undefined && (as === 'rolled-back' || as === 'applied')) {
    return resolve(context, { name, as })
  }
  throw new UsageError(usage)
}

async function apply({ env, output }: CommandContext): Promise<void> {
  const applied = await withPostgres(env, applyMigrations)
  output(applied.length === 0 ? 'The database is up to date.' : `Applied:\n${applied.map((n) => `  ${n}`).join('\n')}`)
}

async function resolve(context: CommandContext, resolution: { name: string; as: 'rolled-back' | 'applied' }) {
  await withPostgres(context.env, (options) => resolveMigration(options, resolution))
  context.output(`${resolution.name} now counts as ${resolution.as}.`)
}

async function write({ output }: CommandContext, name: string): Promise<void> {
  const { writeMigration } = await import('./write-migration.ts')
  output(await writeMigration(name, new Date()))
}

async function withPostgres<T>(
  env: NodeJS.ProcessEnv,
  work: (options: ApplyMigrationsOptions) => Promise<T>,
): Promise<T> {
  const postgres = await openPostgres(env)
  try {
    const { kind, connectionString } = postgres
    return await work({ kind, connectionString, logger: createLogger({ level: 'warn' }) })
  } finally {
    await postgres.close()
  }
}
