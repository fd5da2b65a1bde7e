import { afterAll, beforeAll, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'
import { answer, startModelServer, type ModelServer } from '../../support/model-server.ts'

let models: ModelServer
let app: TestApp

beforeAll(async () => {
  models = await startModelServer()
  // The name is that of a provider with known prices: gpt-4o-mini costs 0.15 and 0.60 dollars for a million tokens.
  const providers = ['openai', 'own'].map((name) => ({ name, baseUrl: models.baseUrl, apiKey: 'none' }))
  app = await startTestApp({
    env: { AI_PROVIDERS: JSON.stringify(providers), AI_DEFAULT_MODELS: 'openai/gpt-4o-mini' },
  })
  models.replyAlways(answer('Good', '.'))
})

afterAll(async () => {
  await app[Symbol.asyncDispose]()
  await models[Symbol.asyncDispose]()
})

const fields = 'id period limitUsd spentUsd reservedUsd hard workspace { id } agent { name }'
const setBudget = `mutation ($input: SetBudgetInput!) { setBudget(input: $input) { budget { ${fields} } } }`
const deleteBudget = `mutation ($id: ID!) { deleteBudget(input: { id: $id }) { budget { ${fields} } } }`
const budgets = `query ($id: ID) { workspace(id: $id) { id budgets { ${fields} } } }`
const complete = 'mutation ($input: CompletionInput!) { complete(input: $input) { text usage { costUsd } } }'

type Json = Record<string, unknown>
type Node = { id: string } & Json

async function ask(user: TestUser, text: string, variables: Json = {}) {
  const { data, errors } = await app.graphql(text, variables, { token: user.token })
  const failure = errors?.[0]
  return {
    data: JSON.parse(JSON.stringify(data ?? {})),
    code: failure?.extensions.code,
    details: failure?.extensions.details,
    message: failure?.message,
  }
}

async function budgetsOf(user: TestUser, id?: string): Promise<{ id: string; budgets: Node[] }> {
  return (await ask(user, budgets, { id })).data.workspace
}

test('an owner sets, changes and deletes budgets; everybody in the workspace sees them', async () => {
  const [owner, member] = [await app.signUp(), await app.signUp()]
  const { id: workspaceId } = await budgetsOf(owner)
  const agent = (
    await ask(owner, 'mutation { createAgent(input: { name: "Poet", instructions: "x" }) { agent { id } } }')
  ).data.createAgent.agent
  const workspace = { id: workspaceId }
  const rest = { spentUsd: 0, reservedUsd: 0, workspace }

  await ask(owner, setBudget, { input: { workspaceId, period: 'MONTH', limitUsd: 5 } })
  await ask(owner, setBudget, { input: { workspaceId, agentId: agent.id, period: 'DAY', limitUsd: 0.25, hard: false } })
  await ask(owner, setBudget, { input: { workspaceId, period: 'MONTH', limitUsd: 7.5 } })

  const seen = await budgetsOf(owner)
  expect(seen.budgets).toEqual([
    { ...rest, id: expect.any(String), period: 'MONTH', limitUsd: 7.5, hard: true, agent: null },
    { ...rest, id: expect.any(String), period: 'DAY', limitUsd: 0.25, hard: false, agent: { name: 'Poet' } },
  ])
  const [month] = seen.budgets
  const node = 'query ($id: ID!) { node(id: $id) { ... on Budget { limitUsd } } }'
  expect((await ask(owner, node, { id: month?.id })).data.node).toEqual({ limitUsd: 7.5 })
  expect((await ask(member, node, { id: month?.id })).data.node).toBeNull()

  expect((await ask(member, deleteBudget, { id: month?.id })).code).toBe('NOT_FOUND')
  await app.services.db.prisma.workspaceMember.create({
    data: {
      id: newId(),
      workspaceId: rowId(workspaceId),
      userId: rowId(member.id),
      role: 'MEMBER',
    },
  })
  expect(await budgetsOf(member, workspaceId)).toEqual(seen)
  expect((await ask(member, deleteBudget, { id: month?.id })).code).toBe('FORBIDDEN')
  expect((await ask(member, setBudget, { input: { workspaceId, period: 'DAY', limitUsd: 1 } })).code).toBe('FORBIDDEN')

  expect((await ask(owner, deleteBudget, { id: month?.id })).data.deleteBudget.budget).toEqual(month)
  expect((await budgetsOf(owner)).budgets).toHaveLength(1)
  expect((await ask(owner, deleteBudget, { id: month?.id })).code).toBe('NOT_FOUND')

  const audit = await app.services.db.prisma.auditEvent.findMany({
    where: { workspaceId: rowId(workspaceId), action: { startsWith: 'budget.' } },
    orderBy: { at: 'asc' },
  })
  expect(audit.map(({ action }) => action)).toEqual(['budget.set', 'budget.set', 'budget.set', 'budget.deleted'])
})

test.each([
  ['a negative limit', { limitUsd: -1 }, 'input.limitUsd'],
  ['a limit beyond what is exact', { limitUsd: 9_000_001 }, 'input.limitUsd'],
])('refuses %s', async (_what, more, field) => {
  const owner = await app.signUp()
  const { id: workspaceId } = await budgetsOf(owner)
  const { code, details } = await ask(owner, setBudget, { input: { workspaceId, period: 'DAY', ...more } })
  expect([code, details?.['field']]).toEqual(['BAD_USER_INPUT', field])
})

test('refuses the agent of another workspace as if there were none', async () => {
  const [owner, other] = [await app.signUp(), await app.signUp()]
  const { id: workspaceId } = await budgetsOf(owner)
  const agent = (
    await ask(other, 'mutation { createAgent(input: { name: "Poet", instructions: "x" }) { agent { id } } }')
  ).data.createAgent.agent
  const input = { workspaceId, agentId: agent.id, period: 'DAY', limitUsd: 1 }
  expect((await ask(owner, setBudget, { input })).code).toBe('NOT_FOUND')
})

test('a hard budget refuses a call before it is sent, from the moment it was set', async () => {
  const owner = await app.signUp()
  const { id: workspaceId } = await budgetsOf(owner)
  expect((await ask(owner, complete, { input: { prompt: 'Hello?' } })).data.complete.text).toBe('Good.')
  await ask(owner, setBudget, { input: { workspaceId, period: 'DAY', limitUsd: 0.000_01 } })
  const before = models.requests.length

  const refused = await ask(owner, complete, { input: { prompt: 'Hello?', models: ['openai/gpt-4o-mini', 'own/x'] } })

  expect([refused.code, refused.details?.['kind']]).toEqual(['BUDGET_EXCEEDED', 'budget_exceeded'])
  expect(refused.message).toContain('daily budget')
  expect(models.requests).toHaveLength(before)
  const [budget] = (await budgetsOf(owner)).budgets
  // What was spent before it was set, today: 11 tokens in, 2 out.
  expect(budget).toMatchObject({ spentUsd: 0.000_002_85, reservedUsd: 0 })
})

test('a call that fits is asked for with a maximum of output, and is spent', async () => {
  const owner = await app.signUp()
  const { id: workspaceId } = await budgetsOf(owner)
  await ask(owner, setBudget, { input: { workspaceId, period: 'TOTAL', limitUsd: 1 } })

  expect((await ask(owner, complete, { input: { prompt: 'Hello?' } })).data.complete.usage.costUsd).toBe(0.000_002_85)
  expect(models.requests.at(-1)?.body['max_tokens']).toBe(8_192)
  await ask(owner, complete, { input: { prompt: 'Hello?', maxOutputTokens: 10 } })
  expect(models.requests.at(-1)?.body['max_tokens']).toBe(10)
  expect((await budgetsOf(owner)).budgets).toMatchObject([{ spentUsd: 0.000_005_7, reservedUsd: 0 }])
})

test('a model whose price is not known is refused under a hard budget, and not under a soft one', async () => {
  const owner = await app.signUp()
  const { id: workspaceId } = await budgetsOf(owner)
  const input = { prompt: 'Hello?', models: ['own/unknown'] }
  await ask(owner, setBudget, { input: { workspaceId, period: 'DAY', limitUsd: 1_000 } })
  expect((await ask(owner, complete, { input })).code).toBe('BUDGET_EXCEEDED')
  await ask(owner, setBudget, { input: { workspaceId, period: 'DAY', limitUsd: 1_000, hard: false } })
  expect((await ask(owner, complete, { input })).data.complete.text).toBe('Good.')
})

test('says in the log when a threshold is passed', async () => {
  const owner = await app.signUp()
  const { id: workspaceId } = await budgetsOf(owner)
  await ask(owner, setBudget, { input: { workspaceId, period: 'DAY', limitUsd: 0.000_005, hard: false } })
  await ask(owner, complete, { input: { prompt: 'Hello?' } })
  const logged = app.logs.lines.filter(({ msg }) => msg === 'a budget has passed a threshold')
  expect(logged.at(-1)).toMatchObject({ percent: 50, period: 'DAY', workspaceId: rowId(workspaceId) })
})
