import { afterAll, beforeEach, expect, test } from 'vitest'
import { AiError } from '../../../src/ai/ai-error.ts'
import { workspaceScope } from '../../../src/ai/model-call.ts'
import { createBudgetGate } from '../../../src/features/budgets/budget-gate.ts'
import { createBudgetKnowledge } from '../../../src/features/budgets/budget-knowledge.ts'
import { readBudgetsOf } from '../../../src/features/budgets/budget-rows.ts'
import { createBudgetStore } from '../../../src/features/budgets/budget-store.ts'
import { createBudgets } from '../../../src/features/budgets/budgets.ts'
import { createWorkspaceAccess } from '../../../src/features/workspaces/access.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { createTestAi, requestFor } from '../../ai/call-model.ts'
import {
  chunk,
  done,
  finish,
  httpError,
  startModelServer,
  stream,
  text,
  usage,
  type ModelServer,
} from '../../support/model-server.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { insertUser } from '../workspaces/rows.ts'

const statements: string[] = []
const db = await startTestDatabase({ onStatement: (sql) => void statements.push(sql) })
afterAll(() => db[Symbol.asyncDispose]())
beforeEach(() => void (statements.length = 0))

const knowledge = createBudgetKnowledge({ db, clock: systemClock })
const store = createBudgetStore({ db })
const gate = createBudgetGate({ store, knowledge, clock: systemClock, logger: createLogger({ level: 'silent' }) })
const access = createWorkspaceAccess({ db })
const budgets = createBudgets({ db, clock: systemClock, newId, access, knowledge, onTasksDue: () => undefined })

/** A dollar for each token of the output; what goes in is free. */
const outputUsd = 1_000_000
function createAi(server: ModelServer) {
  return createTestAi(
    { a: server },
    { gates: [gate], prices: { 'a/m': { inputUsd: 0, cachedInputUsd: 0, outputUsd } } },
  )
}

/** What became of a call for this workspace: its text, or the kind of its error. */
async function call(ai: ReturnType<typeof createAi>, workspaceId: string, signal = new AbortController().signal) {
  try {
    for await (const event of ai.stream(requestFor('Hello?', { maxOutputTokens: 10 }), {
      signal,
      scopes: [workspaceScope(workspaceId)],
    })) {
      if (event.type === 'finished') return event.answer.text
    }
  } catch (error) {
    if (error instanceof AiError) return error.kind
    throw error
  }
  return null
}

const tenTokens = stream(chunk({ role: 'assistant' }), text('Good.'), finish(), usage(5, 10), done)
const threeTokens = stream(chunk({ role: 'assistant' }), text('Good.'), finish(), usage(5, 3), done)

test('200 calls at once spend no more than a budget for 20', { timeout: 120_000 }, async () => {
  await using server = await startModelServer()
  server.replyAlways(tenTokens)
  const { viewer, workspaceId } = await insertUser(db)
  await budgets.set(viewer, { workspaceId, period: 'DAY', limitUsd: 200 })
  const ai = createAi(server)

  const outcomes = await Promise.all(Array.from({ length: 200 }, () => call(ai, workspaceId)))

  expect(outcomes.filter((outcome) => outcome === 'Good.')).toHaveLength(20)
  expect(outcomes.filter((outcome) => outcome === 'budget_exceeded')).toHaveLength(180)
  expect(server.requests).toHaveLength(20)
  expect(await readBudgetsOf(db, [workspaceId])).toMatchObject([[{ spentNanoUsd: 200e9, reservedNanoUsd: 0 }]])
})

test('what a call did not use is there for the next', async () => {
  await using server = await startModelServer()
  server.replyAlways(threeTokens)
  const { viewer, workspaceId } = await insertUser(db)
  await budgets.set(viewer, { workspaceId, period: 'DAY', limitUsd: 16 })
  const ai = createAi(server)

  const outcomes = [await call(ai, workspaceId), await call(ai, workspaceId), await call(ai, workspaceId)]

  expect([...outcomes, await call(ai, workspaceId)]).toEqual(['Good.', 'Good.', 'Good.', 'budget_exceeded'])
  expect(await readBudgetsOf(db, [workspaceId])).toMatchObject([[{ spentNanoUsd: 9e9, reservedNanoUsd: 0 }]])
})

test('a failed attempt gives back what it did not spend before the next is made', async () => {
  await using server = await startModelServer()
  server.reply(httpError(500), httpError(503), tenTokens)
  const { viewer, workspaceId } = await insertUser(db)
  await budgets.set(viewer, { workspaceId, period: 'DAY', limitUsd: 10 })

  expect(await call(createAi(server), workspaceId)).toBe('Good.')
})

test('knows for a second that a workspace has no budget, and learns of the first one at once', async () => {
  await using server = await startModelServer()
  server.replyAlways(tenTokens)
  const { viewer, workspaceId } = await insertUser(db)
  const ai = createAi(server)
  statements.length = 0

  await Promise.all([call(ai, workspaceId), call(ai, workspaceId), call(ai, workspaceId)])
  expect(statements).toHaveLength(1)

  await budgets.set(viewer, { workspaceId, period: 'DAY', limitUsd: 1 })
  expect(await call(ai, workspaceId)).toBe('budget_exceeded')
})

test('another process learns of a budget before the one that made it says so', async () => {
  await using server = await startModelServer()
  server.replyAlways(tenTokens)
  const { viewer, workspaceId } = await insertUser(db)
  const other = createBudgets({
    db,
    clock: systemClock,
    newId,
    access,
    onTasksDue: () => undefined,
    knowledge: createBudgetKnowledge({ db: { ...db, kind: 'postgresql' }, clock: systemClock }),
  })
  const ai = createAi(server)
  expect(await call(ai, workspaceId)).toBe('Good.')

  await other.set(viewer, { workspaceId, period: 'DAY', limitUsd: 1 })

  expect(await call(ai, workspaceId)).toBe('budget_exceeded')
})
