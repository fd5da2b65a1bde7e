import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createFiring, type Fire } from '../../../src/features/schedules/firing.ts'
import { newId } from '../../../src/lib/ids.ts'
import { rowId } from '../../support/first-task.ts'
import { createPlace, createSharedServers, hasServers } from '../../support/shared-servers.ts'
import { startTestApp, type TestApp } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'
import { createScheduler } from './schedule-fixture.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

type Scheduler = ReturnType<typeof createScheduler>

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const yearly = '0 0 1 1 *'
let app: TestApp
let scheduler: Scheduler
let agentId: string
let names = 0

beforeAll(async () => {
  app = await startTestApp({ overrides: { demoTokenDelayMs: 0 } })
  scheduler = createScheduler(app, (await app.signUp()).token)
  agentId = await scheduler.createAgent()
})
afterAll(() => app[Symbol.asyncDispose]())

const create = (input: Record<string, unknown> = {}) =>
  scheduler.create({ name: `Schedule ${(names += 1)}`, cron: yearly, task: { agentId, prompt: 'Go.' }, ...input })

/** Waits until it is not due any more, and returns what it has made. */
async function fired(id: string, by: Scheduler = scheduler) {
  await until(
    'it is fired',
    () => by.row(id),
    ({ paused, nextRunAt }) => paused || (nextRunAt ?? 0) > new Date(),
  )
  return by.tasks(id)
}

test('makes a task at its time, which runs like any other, and says when the next one comes', async () => {
  const task = {
    agentId,
    prompt: 'Say good morning.',
    input: { to: 'Ada' },
    priority: 7,
    maxAttempts: 2,
    timeoutMs: 5_000,
  }
  const { id, nextRunAt } = await create({ name: 'Greeting', task })
  const dueAt = new Date(Date.now() - 2_000)
  await scheduler.makeDue(id, dueAt)

  const [made, ...more] = await fired(id)

  expect(more).toEqual([])
  expect(made).toMatchObject({
    name: 'Greeting',
    priority: 7,
    maxAttempts: 2,
    timeoutMs: 5_000,
    agentId: rowId(agentId),
  })
  expect(made?.createdById).not.toBe(null)
  const read = await until(
    'its task has ended',
    () => scheduler.read(id),
    (now) => now?.lastTask?.status === 'SUCCEEDED',
  )
  expect(read?.nextRunAt).toBe(nextRunAt)
  expect(read?.lastTask?.scheduledFor).toBe(dueAt.toISOString())
  const content = await app.services.db.prisma.taskContent.findUnique({ where: { taskId: made?.id ?? '' } })
  expect(content).toMatchObject({ prompt: 'Say good morning.', input: { to: 'Ada' } })
})

test('is fired close to its time, without anybody asking', async () => {
  const { id } = await create()
  const dueAt = new Date(Date.now() + 1_500)
  await scheduler.makeDue(id, dueAt)

  const [made] = await until(
    'its task',
    () => scheduler.tasks(id),
    (found) => found.length > 0,
  )

  expect(made?.scheduledFor).toEqual(dueAt)
  expect(made?.createdAt.getTime()).toBeGreaterThanOrEqual(dueAt.getTime())
})

test('makes up for missed times with one task, for the latest of them', async () => {
  const { id } = await create({ cron: '0 * * * *' })
  const missedFrom = new Date(Math.floor(Date.now() / hourMs) * hourMs - 72 * hourMs)
  await scheduler.makeDue(id, missedFrom)

  const tasks = await fired(id)

  const latest = new Date(Math.floor((tasks[0]?.createdAt.getTime() ?? 0) / hourMs) * hourMs)
  expect(tasks.map(({ scheduledFor }) => scheduledFor)).toEqual([latest])
  expect((await scheduler.row(id)).nextRunAt).toEqual(new Date(latest.getTime() + hourMs))
  expect(app.logs.lines.find(({ scheduleId }) => scheduleId === rowId(id))).toMatchObject({
    level: 'warn',
    msg: 'due times were missed; the latest is made up for',
    missedFrom: missedFrom.toISOString(),
    scheduledFor: latest.toISOString(),
  })
})

test('a due time that has its task gets no second one, though the clock has gone back', async () => {
  const { id } = await create()
  const dueAt = new Date(Date.now() - 5_000)
  await scheduler.makeDue(id, dueAt)
  expect(await fired(id)).toHaveLength(1)

  await scheduler.makeDue(id, dueAt)

  expect(await fired(id)).toHaveLength(1)
})

test('tasks of a paused agent wait for it', async () => {
  const paused = await scheduler.createAgent({ name: 'Paused' })
  await scheduler.act('pauseAgent', paused)
  const { id } = await create({ task: { agentId: paused, prompt: 'Go.' } })
  await scheduler.makeDue(id, new Date(Date.now() - 1_000))

  expect(await fired(id)).toMatchObject([{ status: 'QUEUED' }])
})

test('archiving an agent pauses its schedules and says why', async () => {
  const leaving = await scheduler.createAgent({ name: 'Leaving' })
  const { id } = await create({ task: { agentId: leaving, prompt: 'Go.' } })

  await scheduler.act('archiveAgent', leaving)

  const paused = { paused: true, pausedReason: 'Its agent was archived.', nextRunAt: null }
  expect(await scheduler.read(id)).toMatchObject(paused)
  await expect(scheduler.update({ id, paused: false })).rejects.toThrow('The agent is archived')
  expect(await scheduler.read(id)).toMatchObject(paused)
  const { pausedReason } = await scheduler.update({ id, paused: false, task: { agentId, prompt: 'Go.' } })
  expect(pausedReason).toBe(null)
})

test('a schedule that is due after its agent was archived is paused instead', async () => {
  const leaving = await scheduler.createAgent({ name: 'Gone' })
  const { id } = await create({ task: { agentId: leaving, prompt: 'Go.' } })
  await app.services.db.prisma.agent.update({ where: { id: rowId(leaving) }, data: { status: 'ARCHIVED' } })
  await scheduler.makeDue(id, new Date(Date.now() - 1_000))

  expect(await fired(id)).toEqual([])
  expect(await scheduler.row(id)).toMatchObject({ paused: true, pausedReason: 'Its agent was archived.' })
})

test('one whose times cannot be computed is paused, and keeps no other from its time', async () => {
  const { id: strange } = await create()
  const { id: sound } = await create()
  const { prisma } = app.services.db
  const since = new Date(Date.now() - 1_000)
  await prisma.$transaction([
    prisma.schedule.update({
      where: { id: rowId(strange) },
      data: { timeZone: 'Mars/Olympus_Mons', nextRunAt: since },
    }),
    prisma.schedule.update({ where: { id: rowId(sound) }, data: { nextRunAt: since } }),
  ])

  expect(await fired(strange)).toEqual([])
  expect(await fired(sound)).toHaveLength(1)
  expect(await scheduler.row(strange)).toMatchObject({ paused: true, pausedReason: 'Its times could not be computed.' })
  app.logs.takeError('the times of a schedule cannot be computed; it is paused')
})

test('one whose task the database refuses is paused, and keeps no other from its time', async () => {
  const { id: refused } = await create()
  const { id: sound } = await create()
  const { prisma } = app.services.db
  const since = new Date(Date.now() - 1_000)
  const template = { prompt: 'Go.', priority: 1_000 }
  await prisma.$transaction([
    prisma.schedule.update({ where: { id: rowId(refused) }, data: { template, nextRunAt: since } }),
    prisma.schedule.update({ where: { id: rowId(sound) }, data: { nextRunAt: since } }),
  ])

  expect(await fired(refused)).toEqual([])
  expect(await fired(sound)).toHaveLength(1)
  expect(await scheduler.row(refused)).toMatchObject({ paused: true, pausedReason: 'Its task could not be made.' })
  app.logs.takeError('a schedule cannot be fired; it is paused')
})

/** The decision to fire a schedule, as any process would make it. */
async function decision(id: string, overrides: { priority?: number } = {}): Promise<Fire> {
  const { workspaceId, version, ...row } = await scheduler.row(id)
  const scheduledFor = new Date(Date.UTC(2026, 0, 1))
  const made = { name: 'Go', prompt: 'Go.', input: null, maxAttempts: null, timeoutMs: null, priority: 0, ...overrides }
  const task = {
    id: newId(),
    workspaceId,
    agentId: row.agentId,
    createdById: null,
    scheduleId: row.id,
    scheduledFor,
    ...made,
  }
  return { scheduleId: row.id, version, nextRunAt: new Date(Date.now() + hourMs), task }
}

test('of many who fire the same due time at once, one makes its task', async () => {
  const firing = createFiring(app.services)
  const ids = await Promise.all(Array.from({ length: 10 }, async () => (await create()).id))
  const everybody = await Promise.all(Array.from({ length: 8 }, () => Promise.all(ids.map((id) => decision(id)))))

  const made = await Promise.all(everybody.map((fires) => firing.fire(fires)))

  expect(made.flat()).toHaveLength(10)
  for (const id of ids) {
    expect(await scheduler.tasks(id)).toHaveLength(1)
    expect((await scheduler.row(id)).version).toBe(2)
  }
})

test('neither the task nor the next time is there when one of them cannot be written', async () => {
  const firing = createFiring(app.services)
  const { id } = await create()
  const before = await scheduler.row(id)

  await expect(firing.fire([await decision(id, { priority: 1_000 })])).rejects.toThrow()

  expect(await scheduler.tasks(id)).toEqual([])
  expect(await scheduler.row(id)).toEqual(before)
})

test('a decision from before a change does nothing', async () => {
  const firing = createFiring(app.services)
  const { id } = await create()
  const stale = await decision(id)
  await scheduler.update({ id, task: { agentId, prompt: 'Do something else.' } })

  expect(await firing.fire([stale])).toEqual([])
  expect(await scheduler.tasks(id)).toEqual([])
})

test.skipIf(!hasServers)('a schedule that somebody else is firing is left to them', async () => {
  const { db } = app.services
  const firing = createFiring({ db })
  const { id } = await create()
  const fire = await decision(id)

  await db.transaction(async (tx) => {
    await tx.$queryRaw`SELECT 1 FROM schedule WHERE id = ${rowId(id)}::uuid FOR NO KEY UPDATE`
    expect(await firing.fire([fire])).toEqual([])
  })
  expect(await firing.fire([fire])).toHaveLength(1)
})

test('what is due while no process is there is made up for after a restart', async () => {
  await using place = await createPlace()
  const { env } = place
  let token: string
  let id: string
  {
    await using first = await startTestApp({ env })
    token = (await first.signUp()).token
    const before = createScheduler(first, token)
    const task = { agentId: await before.createAgent(), prompt: 'Go.' }
    id = (await before.create({ name: 'Nightly', cron: yearly, task })).id
    await before.makeDue(id, new Date(Date.now() + 3_000))
  }
  await using second = await startTestApp({ env })
  const after = createScheduler(second, token)

  expect(
    await until(
      'its task',
      () => after.tasks(id),
      (found) => found.length > 0,
    ),
  ).toHaveLength(1)
  expect(await fired(id, after)).toHaveLength(1)
})

test.skipIf(!hasServers)('two processes that see the same due times make one task for each', async () => {
  await using shared = await createSharedServers()
  await using one = await startTestApp({ env: shared.env })
  await using two = await startTestApp({ env: shared.env })
  const { token } = await one.signUp()
  const both = [createScheduler(one, token), createScheduler(two, token)] as const
  const agent = await both[0].createAgent()
  await both[0].act('pauseAgent', agent)
  const ids: string[] = []
  for (let n = 0; n < 60; n += 1)
    ids.push(
      (await both[n % 2 === 0 ? 0 : 1].create({ name: `S${n}`, cron: yearly, task: { agentId: agent, prompt: 'Go.' } }))
        .id,
    )
  const { prisma } = one.services.db

  for (let round = 1; round <= 5; round += 1) {
    await prisma.schedule.updateMany({ data: { nextRunAt: new Date(Date.UTC(2026, 5, round)) } })
    const isDue = () => prisma.schedule.count({ where: { nextRunAt: { lte: new Date() } } })
    await until('all are fired', isDue, (count) => count === 0)
  }

  for (const id of ids) {
    const tasks = await both[0].tasks(id)
    expect(tasks.map(({ scheduledFor }) => scheduledFor?.getUTCDate())).toEqual([1, 2, 3, 4, 5])
  }
})
