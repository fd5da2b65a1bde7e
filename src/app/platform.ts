import { createAiClient, type AiClient } from '../ai/ai-client.ts'
import { createBudgetGate } from '../features/budgets/budget-gate.ts'
import { startBudgetHousekeeping } from '../features/budgets/budget-housekeeping.ts'
import { createBudgetKnowledge, type BudgetKnowledge } from '../features/budgets/budget-knowledge.ts'
import { createBudgetStore } from '../features/budgets/budget-store.ts'
import { sleep } from '../lib/sleep.ts'
import { createDatabase } from '../platform/database/create-database.ts'
import type { Database } from '../platform/database/database.ts'
import type { AppOverrides, Basics } from './basics.ts'
import { type Drivers, openDrivers } from './drivers.ts'

export type Platform = Pick<Drivers, 'events' | 'dispatch' | 'throttles'> & {
  db: Database
  ai: AiClient
  budgetKnowledge: BudgetKnowledge
}

/** The only place that chooses drivers. */
export async function openPlatform(basics: Basics, overrides: Partial<AppOverrides>): Promise<Platform> {
  const { config, clock, newId, random, logger, cleanup } = basics
  const { onStatement, demoTokenDelayMs } = overrides
  const db = await createDatabase({
    url: config.database.url,
    poolSize: config.database.poolSize,
    dataDirectory: config.dataDir,
    clock,
    logger,
    random,
    sleep,
    onCrash: overrides.onFatal ?? ((error) => logger.fatal({ err: error }, 'the embedded database broke')),
    onStatement,
    startEmbedded: overrides.startEmbedded,
  })
  cleanup.add('the database', () => db.close())
  const { events, dispatch, throttles, cache, ...limiting } = await openDrivers(basics)
  const demo = demoTokenDelayMs === undefined ? {} : { demoTokenDelayMs }
  const budgetKnowledge = createBudgetKnowledge({ db, clock })
  const budgets = createBudgetGate({ store: createBudgetStore({ db }), knowledge: budgetKnowledge, clock, logger })
  const responses = { cache, defaultTtlMs: config.answerCacheTtlMs }
  const ai = createAiClient({
    ...config.ai,
    ...limiting,
    ...demo,
    gates: [budgets],
    responses,
    clock,
    newId,
    random,
    logger,
  })
  cleanup.add('the AI client', () => ai.close())
  cleanup.add('the knowledge of budgets', async () => budgetKnowledge.close())
  const housekeeping = startBudgetHousekeeping({ db, logger })
  cleanup.add('the housekeeping of budgets', () => housekeeping.stop())
  return { db, events, dispatch, throttles, ai, budgetKnowledge }
}
