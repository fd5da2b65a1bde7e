import { expect, test } from 'vitest'
import { startTestDatabase } from '../../support/test-database.ts'

test('the statements of every function are planned once, search indexes and are not compiled, also in those that a later migration has replaced', async () => {
  await using db = await startTestDatabase()
  const functions = await db.query<{ name: string; settings: string[] | null }>(
    {
      name: 'function_settings',
      text: `SELECT p.proname AS name, p.proconfig AS settings
             FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
            WHERE p.pronamespace = current_schema()::regnamespace AND l.lanname = 'plpgsql' AND p.prorettype <> 'trigger'::regtype`,
    },
    [],
  )
  expect(functions.length).toBeGreaterThan(5)
  const needed = ['plan_cache_mode=force_generic_plan', 'enable_seqscan=off', 'jit=off']
  const others = functions.filter(({ settings }) => !needed.every((setting) => settings?.includes(setting)))
  expect(others.map(({ name }) => name)).toEqual([])
})
