import { afterAll, beforeEach, expect, test } from 'vitest'
import { createMemoryAlert } from '../../../src/features/operations/memory-alert.ts'
import { createProcessRegistry, type ProcessRegistry } from '../../../src/features/operations/process-registry.ts'
import type { Clock } from '../../../src/lib/clock.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { ServiceUnavailableError } from '../../../src/lib/errors.ts'
import { newId } from '../../../src/lib/ids.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import { createSubmitter, rowId } from '../../support/first-task.ts'
import { captureLogs } from '../../support/log-capture.ts'
import { startTestApp } from '../../support/test-app.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { until } from '../../support/until.ts'

const db = await startTestDatabase()
afterAll(() => db[Symbol.asyncDispose]())
beforeEach(async () => {
  await db.prisma.process.deleteMany()
})

const vitals = {
  measure: () => ({ rssBytes: 1_000, cpuPercent: 12.5, eventLoopLagMs: 3 }),
  close: () => undefined,
}
const busy = { runningTasks: () => 7, claiming: () => true, memoryShortage: () => null }
const idle = { ...busy, runningTasks: () => 0, claiming: () => false }

type Overrides = { db?: Database; processId?: string; roles?: string[]; beatMs?: number; clock?: Clock }

function createRegistry(overrides: Overrides): ProcessRegistry & { logs: ReturnType<typeof captureLogs> } {
  const logs = captureLogs()
  const self = { processId: newId(), roles: ['worker'], ...overrides }
  const memoryAlert = createMemoryAlert({ db, newId, processId: self.processId, aliveMs: 15_000 })
  const deps = { db, clock: systemClock, logger: logs.logger, vitals, memoryAlert }
  return { ...createProcessRegistry({ ...deps, ...self }), logs }
}

/** As on a server, where others may live: the tests' own database is an embedded one. */
const shared: Database = { ...db, kind: 'postgresql' }

test('writes what the process is and does, and takes the row away at the end', async () => {
  const processId = newId()
  const registry = createRegistry({ processId, roles: ['api', 'worker'] })

  await registry.start(busy)

  const row = await db.prisma.process.findUniqueOrThrow({ where: { id: processId } })
  expect(row).toMatchObject({ roles: ['api', 'worker'], rssBytes: 1_000n, cpuPercent: 12.5, eventLoopLagMs: 3 })
  expect(row).toMatchObject({ runningTasks: 7, claiming: true })
  expect(await registry.workers()).toEqual({ alive: 1, claiming: 1 })
  await registry.close()
  expect(await db.prisma.process.count()).toBe(0)
})

test('gives a sign of life again and again', async () => {
  const registry = createRegistry({ beatMs: 20 })
  await registry.start(busy)
  const read = () => db.prisma.process.findFirstOrThrow()
  const first = await read()

  await until('the next sign of life', read, ({ lastSeenAt }) => lastSeenAt > first.lastSeenAt)
  expect((await read()).startedAt).toEqual(first.startedAt)
  await registry.close()
})

test('counts the workers that live, and apart those that take tasks', async () => {
  const registry = createRegistry({ db: shared, roles: ['api'] })
  await registry.start(idle)
  expect(await registry.workers()).toEqual({ alive: 0, claiming: 0 })
  await registry.close()

  const ago = (ms: number) => new Date(Date.now() - ms)
  const row = { roles: ['worker'], startedAt: ago(60_000), claiming: true }
  await db.prisma.process.createMany({
    data: [
      { ...row, id: newId(), lastSeenAt: ago(0) },
      { ...row, id: newId(), lastSeenAt: ago(5_000), claiming: false },
      { ...row, id: newId(), lastSeenAt: ago(5_000), roles: ['api'] },
      { ...row, id: newId(), lastSeenAt: ago(30_000) },
    ],
  })

  expect(await createRegistry({ db: shared }).workers()).toEqual({ alive: 2, claiming: 1 })
})

test('the rows of dead processes go, those of silent ones stay for a while', async () => {
  const ago = (ms: number) => new Date(Date.now() - ms)
  const silent = { id: newId(), roles: ['worker'], startedAt: ago(90_000), lastSeenAt: ago(40_000) }
  const dead = { id: newId(), roles: ['worker'], startedAt: ago(90_000), lastSeenAt: ago(70_000) }
  await db.prisma.process.createMany({ data: [silent, dead] })
  const processId = newId()

  const registry = createRegistry({ db: shared, processId })
  await registry.start(busy)

  const left = await db.prisma.process.findMany({ select: { id: true } })
  expect(left.map(({ id }) => id).toSorted()).toEqual([silent.id, processId].toSorted())
  await registry.close()
})

test('an embedded server forgets at once what a crash has left: nobody else has its database', async () => {
  const left = {
    id: newId(),
    roles: ['api', 'worker'],
    startedAt: new Date(),
    lastSeenAt: new Date(Date.now() - 1_000),
  }
  await db.prisma.process.create({ data: left })

  const registry = createRegistry({ db: { ...db, kind: 'embedded' } })
  await registry.start(busy)

  expect(await registry.workers()).toEqual({ alive: 1, claiming: 1 })
  await registry.close()
})

test('a process whose row was taken away for its silence is back with its next sign of life', async () => {
  const registry = createRegistry({})
  await registry.start(busy)
  await db.prisma.process.deleteMany()

  await registry.beat()

  expect(await db.prisma.process.count()).toBe(1)
  await registry.close()
})

test('a sign of life that is asked for during another one tells of what has changed', async () => {
  let claiming = true
  const registry = createRegistry({})
  await registry.start({ ...idle, claiming: () => claiming })

  const first = registry.beat()
  claiming = false
  await registry.beat()
  await first

  expect(await db.prisma.process.findFirst()).toMatchObject({ claiming: false })
  await registry.close()
})

test('rides out an outage of the database, and says so once', async () => {
  let isAway = true
  let tries = 0
  const flaky: Database = {
    ...db,
    async query(...args) {
      tries += 1
      if (isAway) throw new ServiceUnavailableError('The database cannot be reached.')
      return db.query(...args)
    },
  }
  const registry = createRegistry({ db: flaky })
  await registry.start(busy)
  await until(
    'it has tried again',
    async () => tries,
    (count) => count >= 2,
  )
  await expect(registry.workers()).rejects.toThrow(ServiceUnavailableError)

  isAway = false
  await until(
    'the row is there',
    () => db.prisma.process.count(),
    (count) => count === 1,
  )
  expect(await registry.workers()).toEqual({ alive: 1, claiming: 1 })
  isAway = true
  await registry.close()

  expect(registry.logs.lines.map(({ level, msg }) => `${level} ${msg}`)).toEqual([
    'warn a sign of life did not reach the database; it is tried again',
    'info signs of life reach the database again',
    'warn the row of this process stays until others take it away',
  ])
})

test('asks the database once for all who want to know within a second', async () => {
  let nowMs = 0
  let reads = 0
  const counted: Database = {
    ...db,
    query(...args) {
      reads += 1
      return db.query(...args)
    },
  }
  const registry = createRegistry({ db: counted, clock: { ...systemClock, monotonicMs: () => nowMs } })

  await Promise.all(Array.from({ length: 50 }, () => registry.workers()))
  nowMs = 999
  await registry.workers()
  expect(reads).toBe(1)
  nowMs = 1_000
  await registry.workers()
  expect(reads).toBe(2)
})

test('two processes that beat against each other and clear away the same dead rows do not get stuck', async () => {
  const registries = Array.from({ length: 4 }, () => createRegistry({ db: shared }))
  const past = new Date(Date.now() - 120_000)
  const dead = () => ({ id: newId(), roles: ['worker'], startedAt: past, lastSeenAt: past })
  await Promise.all(registries.map((registry) => registry.start(busy)))

  for (let round = 0; round < 10; round += 1) {
    await db.prisma.process.createMany({ data: Array.from({ length: 20 }, dead) })
    await Promise.all(registries.map((registry) => registry.beat()))
  }

  expect(await db.prisma.process.count()).toBe(4)
  expect(registries.flatMap(({ logs }) => logs.lines)).toEqual([])
  await Promise.all(registries.map((registry) => registry.close()))
})

test('a running server is in the list, under the id that its leases have', { timeout: 120_000 }, async () => {
  await using app = await startTestApp()
  const { services } = app

  const [row] = await services.db.prisma.process.findMany()

  expect(row).toMatchObject({ roles: ['api', 'worker'], claiming: true, runningTasks: 0 })
  expect(row?.rssBytes).toBeGreaterThan(10_000_000n)
  expect(await services.processes.workers()).toEqual({ alive: 1, claiming: 1 })
  const submitter = await createSubmitter(app)
  const taskId = rowId(await submitter.submit(app))
  const attempt = await until(
    'the task is claimed',
    () => services.db.prisma.taskAttempt.findFirst({ where: { taskId } }),
    (found) => found !== null,
  )
  expect(attempt?.processId).toBe(row?.id)
})
