import { afterAll, beforeAll, expect, test } from 'vitest'
import type { BudgetPeriod } from '../../../src/generated/prisma/client.ts'
import { answer, startModelServer, type ModelServer } from '../../support/model-server.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'
import { rowId } from '../tasks/graphql-fixture.ts'
import { insertUsage } from '../workspaces/rows.ts'

let models: ModelServer
let app: TestApp

beforeAll(async () => {
  models = await startModelServer()
  const providers = [{ name: 'openai', baseUrl: models.baseUrl, apiKey: 'none' }]
  app = await startTestApp({
    env: { AI_PROVIDERS: JSON.stringify(providers), AI_DEFAULT_MODELS: 'openai/gpt-4o-mini' },
  })
  models.replyAlways(answer('Done.'))
}, 60_000)

afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
})

async function ask(user: TestUser, document: string, variables: Record<string, unknown> = {}) {
  const { data, errors } = await app.graphql(document, variables, { token: user.token })
  if (errors !== undefined) throw new Error(JSON.stringify(errors))
  return JSON.parse(JSON.stringify(data))
}

type Task = {
  status: string
  statusReason: string | null
  runAt: string | null
  attemptsUsed: number
  error: { code: string } | null
  attempts: { status: string }[]
}

const taskFields = 'status statusReason runAt attemptsUsed error { code } attempts { status }'

/** A budget of a dollar of which everything but a billionth is spent, and a task under it, once it has `status`. */
async function submitUnderSpentBudget(period: BudgetPeriod, status: string) {
  const user = await app.signUp()
  const { workspace } = await ask(user, '{ workspace { id } }')
  await insertUsage(app.services.db, { workspaceId: rowId(workspace.id), costNanoUsd: 999_999_999n, at: new Date() })
  const limit = async (limitUsd: number): Promise<string> => {
    const input = { workspaceId: workspace.id, period, limitUsd }
    const set = 'mutation ($input: SetBudgetInput!) { setBudget(input: $input) { budget { id } } }'
    return (await ask(user, set, { input })).setBudget.budget.id
  }
  const budgetId = await limit(1)
  const agent = await ask(user, 'mutation { createAgent(input: { name: "A", instructions: "x" }) { agent { id } } }')
  const create = 'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }'
  const { createTask } = await ask(user, create, { input: { agentId: agent.createAgent.agent.id, prompt: 'Do it.' } })
  const { id } = createTask.task
  const read = async (): Promise<Task> =>
    (await ask(user, `query ($id: ID!) { task(id: $id) { ${taskFields} } }`, { id })).task
  const reached = (wanted: string) => until(`the task is ${wanted}`, read, (task) => task.status === wanted)
  return { user, budgetId, limit, reached, task: await reached(status) }
}

test('a task waits until the period is over, uses no attempt, and goes on when the limit is raised', async () => {
  const before = models.requests.length
  const { task, limit, reached } = await submitUnderSpentBudget('MONTH', 'SCHEDULED')

  expect(task).toMatchObject({ attemptsUsed: 0, attempts: [{ status: 'RELEASED' }] })
  expect(task.statusReason).toContain('The budget is exhausted')
  expect(new Date(task.runAt ?? 0).getTime()).toBeGreaterThan(Date.now())
  expect(models.requests).toHaveLength(before)

  await limit(2)
  expect(await reached('SUCCEEDED')).toMatchObject({ attemptsUsed: 1 })
})

test('a task goes on when the budget that it waits for is deleted', async () => {
  const { user, budgetId, reached } = await submitUnderSpentBudget('MONTH', 'SCHEDULED')
  await ask(user, 'mutation ($id: ID!) { deleteBudget(input: { id: $id }) { budget { id } } }', { id: budgetId })
  await reached('SUCCEEDED')
})

test('a task fails when waiting would not help', async () => {
  const { task } = await submitUnderSpentBudget('TOTAL', 'FAILED')
  expect(task.error).toEqual({ code: 'BUDGET_EXCEEDED' })
})
