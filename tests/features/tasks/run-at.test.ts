import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createSubmitter, rowId, type Submitter } from '../../support/first-task.ts'
import { createPlace } from '../../support/shared-servers.ts'
import { startTestApp, type TestApp } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

let app: TestApp
let submitter: Submitter

beforeAll(async () => {
  app = await startTestApp({ overrides: { demoTokenDelayMs: 0 } })
  submitter = await createSubmitter(app)
})
afterAll(() => app[Symbol.asyncDispose]())

async function submit(runAt: Date): Promise<string> {
  const { createTask } = await app.data<{ createTask: { task: { id: string } } }>(
    'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
    { input: { agentId: submitter.agentId, prompt: 'Go.', runAt: runAt.toISOString() } },
    { token: submitter.token },
  )
  return createTask.task.id
}

const inMs = (ms: number): Date => new Date(Date.now() + ms)
const row = (id: string, of = app) => of.services.db.prisma.task.findUniqueOrThrow({ where: { id: rowId(id) } })
const types = async (id: string) => {
  const where = { taskId: rowId(id) }
  const events = await app.services.db.prisma.taskEvent.findMany({ where, orderBy: { version: 'asc' } })
  return events.map(({ type }) => type)
}
const ended = (id: string, of = app) =>
  until(
    'it has ended',
    () => row(id, of),
    ({ finishedAt }) => finishedAt !== null,
  )

test('waits as SCHEDULED until its time, and not longer', async () => {
  const runAt = inMs(2_000)
  const id = await submit(runAt)
  expect(await row(id)).toMatchObject({ status: 'SCHEDULED', runAt, queuedAt: null })

  const { queuedAt, status } = await ended(id)

  expect(status).toBe('SUCCEEDED')
  expect(queuedAt?.getTime()).toBeGreaterThanOrEqual(runAt.getTime())
  // The promise is one second; the rest is for a machine that has other things to do.
  expect(queuedAt?.getTime()).toBeLessThan(runAt.getTime() + 10_000)
  expect(await types(id)).toEqual(['CREATED', 'QUEUED', 'STARTED', 'SUCCEEDED'])
})

test('runs at once when its time has passed', async () => {
  const id = await submit(new Date(0))

  expect(await ended(id)).toMatchObject({ status: 'SUCCEEDED', runAt: new Date(0) })
  expect(await types(id)).toEqual(['CREATED', 'STARTED', 'SUCCEEDED'])
})

test('tasks that are due at the same time are all queued then', async () => {
  const runAt = inMs(1_500)
  const ids = await Promise.all(Array.from({ length: 20 }, () => submit(runAt)))

  for (const id of ids) expect(await ended(id)).toMatchObject({ status: 'SUCCEEDED' })
})

test('can be cancelled before its time, and does not run then', async () => {
  const runAt = inMs(1_500)
  const [cancelled, witness] = [await submit(runAt), await submit(inMs(2_500))]
  await app.data(
    'mutation ($input: CancelTaskInput!) { cancelTask(input: $input) { task { status } } }',
    { input: { id: cancelled, reason: 'Not needed.' } },
    { token: submitter.token },
  )

  // By then its time has come and gone.
  await ended(witness)

  expect(await row(cancelled)).toMatchObject({ status: 'CANCELLED', reason: 'Not needed.', attempt: 0 })
  expect(await types(cancelled)).toEqual(['CREATED', 'CANCELLED'])
})

test.each(['2100-01-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z'])(
  'waits until %s, farther than a timer goes',
  async (far) => {
    const id = await submit(new Date(far))
    // What is nearer is not kept waiting, and the far one does not come first.
    expect(await ended(await submit(inMs(500)))).toMatchObject({ status: 'SUCCEEDED' })

    expect(await row(id)).toMatchObject({ status: 'SCHEDULED', runAt: new Date(far) })
  },
)

test('a time that comes while no process is there is honoured when one is back', async () => {
  await using place = await createPlace()
  const { env } = place
  let id: string
  {
    await using first = await startTestApp({ env })
    const { token, agentId } = await createSubmitter(first)
    const input = { agentId, prompt: 'Go.', runAt: inMs(3_000).toISOString() }
    const { createTask } = await first.data<{ createTask: { task: { id: string; status: string } } }>(
      'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id status } } }',
      { input },
      { token },
    )
    id = createTask.task.id
  }
  await using second = await startTestApp({ env })

  const { status, attempt, queuedAt, runAt } = await ended(id, second)

  expect({ status, attempt }).toEqual({ status: 'SUCCEEDED', attempt: 1 })
  expect(queuedAt?.getTime()).toBeGreaterThanOrEqual(runAt?.getTime() ?? Infinity)
})
