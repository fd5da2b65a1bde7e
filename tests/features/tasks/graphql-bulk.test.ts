import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { insertTask, later } from '../workspaces/rows.ts'
import { fillWorkspace, rowId, type Ids } from './graphql-fixture.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

let user: TestUser
let ids: Ids

beforeAll(async () => {
  user = await app.signUp()
  ids = await fillWorkspace(app, user)
})

const mutation = (name: string, type: string, selection: string): string =>
  `mutation ($input: ${type}!) { ${name}(input: $input) { ${selection} } }`
const as = (): { token: string } => ({ token: user.token })

type Bulk = { count: number; hasMore: boolean }

async function bulk(name: 'cancelTasks' | 'retryTasks', input: Record<string, unknown>): Promise<Bulk> {
  const document = mutation(name, 'BulkTasksInput', 'count hasMore')
  const answer = await app.data<Record<string, Bulk>>(document, { input }, as())
  return answer[name] ?? { count: -1, hasMore: false }
}

describe('many tasks at once', () => {
  test(
    'are cancelled, the oldest first, and retried, in more than one batch and request',
    { timeout: 120_000 },
    async () => {
      const { db } = app.services
      const owner = { workspaceId: rowId(ids.workspace), agentId: rowId(ids.agent) }
      const name = 'bulk'
      const all: string[] = []
      for (let n = 0; n < 260; n += 1) {
        const createdAt = later(n)
        all.push(
          await insertTask(db, owner, {
            name,
            createdAt,
            status: 'SCHEDULED',
            runAt: new Date(Date.now() + 3_600_000),
          }),
        )
      }
      const filter = { search: name, agentId: ids.agent }
      const statuses = async () =>
        (await db.prisma.task.findMany({ where: { name }, orderBy: { createdAt: 'asc' } })).map(({ status }) => status)

      expect(await bulk('cancelTasks', { filter, limit: 210 })).toEqual({ count: 210, hasMore: true })
      expect(await statuses()).toEqual(all.map((_id, n) => (n < 210 ? 'CANCELLED' : 'SCHEDULED')))
      expect(await bulk('cancelTasks', { filter })).toEqual({ count: 50, hasMore: false })
      expect(await bulk('cancelTasks', { filter })).toEqual({ count: 0, hasMore: false })

      expect(await bulk('retryTasks', { filter: { ...filter, status: ['FAILED'] } })).toEqual({
        count: 0,
        hasMore: false,
      })
      expect(await bulk('retryTasks', { filter, limit: 5_000 })).toEqual({ count: 260, hasMore: false })
      expect(await statuses()).toEqual(all.map(() => 'SCHEDULED'))
      const audited = await db.prisma.auditEvent.findMany({ where: { action: { startsWith: 'task.bulk_' } } })
      expect(audited.map(({ action }) => action).toSorted()).toEqual([
        ...Array.from({ length: 3 }, () => 'task.bulk_cancelled'),
        ...Array.from({ length: 2 }, () => 'task.bulk_retried'),
      ])
    },
  )

  test.each([0, 5_001])('are not %i', async (limit) => {
    const document = mutation('cancelTasks', 'BulkTasksInput', 'count')
    const { errors } = await app.graphql(document, { input: { filter: {}, limit } }, as())
    expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['field']])).toEqual([
      ['BAD_USER_INPUT', 'input.limit'],
    ])
  })
})

describe('retryTask', () => {
  const retryTask = mutation('retryTask', 'RetryTaskInput', 'task { status attemptsUsed }')

  test('begins a cancelled task anew, and refuses one that has not ended, with nothing in the audit log', async () => {
    const cancelTask = mutation('cancelTask', 'CancelTaskInput', 'task { id }')
    await app.data(cancelTask, { input: { id: ids.task } }, as())
    expect(await app.data(retryTask, { input: { id: ids.task } }, as())).toEqual({
      retryTask: { task: { status: 'SCHEDULED', attemptsUsed: 0 } },
    })
    const { errors } = await app.graphql(retryTask, { input: { id: ids.task } }, as())
    expect(errors?.map(({ message, extensions }) => [extensions.code, message])).toEqual([
      ['CONFLICT', 'The task has not ended yet.'],
    ])
    expect(await app.services.db.prisma.auditEvent.count({ where: { action: 'task.retried' } })).toBe(1)
  })
})

describe('one idempotency key, fifty times at once', () => {
  const inAnHour = new Date(Date.now() + 3_600_000).toISOString()

  test('makes one task', { timeout: 120_000 }, async () => {
    const document = mutation('createTask', 'CreateTaskInput', 'task { id }')
    const input = { agentId: ids.agent, prompt: 'Once.', runAt: inAnHour, idempotencyKey: newId() }
    const answers = await Promise.all(Array.from({ length: 50 }, () => app.data(document, { input }, as())))
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1)
    expect(await app.services.db.prisma.task.count({ where: { idempotencyKey: input.idempotencyKey } })).toBe(1)
    const { errors } = await app.graphql(document, { input: { ...input, prompt: 'Other.' } }, as())
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['CONFLICT'])
  })

  test('makes one graph', { timeout: 120_000 }, async () => {
    const document = mutation('createTaskGraph', 'CreateTaskGraphInput', 'tasks { id name }')
    const node = { agentId: ids.agent, prompt: 'Once.', runAt: inAnHour, name: 'one graph' }
    const tasks = [
      { ...node, key: 'b', dependsOn: ['a'] },
      { ...node, key: 'a' },
    ]
    const input = { tasks, idempotencyKey: newId() }
    const answers = await Promise.all(Array.from({ length: 50 }, () => app.data(document, { input }, as())))
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1)
    expect(await app.services.db.prisma.task.count({ where: { name: 'one graph' } })).toBe(2)
    const { errors } = await app.graphql(document, { input: { ...input, tasks: tasks.slice(1) } }, as())
    expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['CONFLICT'])
  })
})
