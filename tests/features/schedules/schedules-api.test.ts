import { encodeGlobalID } from '@pothos/plugin-relay'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { scheduleLimits } from '../../../src/features/schedules/schedule-input.ts'
import { newId } from '../../../src/lib/ids.ts'
import { rowId } from '../../support/first-task.ts'
import type { GraphQLErrorJson } from '../../support/graphql-client.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { createScheduler } from './schedule-fixture.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 })

let app: TestApp
let owner: TestUser
let reader: TestUser
let stranger: TestUser
let mine: ReturnType<typeof createScheduler>
let agentId: string
let names = 0

beforeAll(async () => {
  app = await startTestApp()
  ;[stranger, owner, reader] = [await app.signUp(), await app.signUp(), await app.signUp()]
  mine = createScheduler(app, owner.token)
  agentId = await mine.createAgent()
  const { workspaceId } = await app.services.db.prisma.agent.findUniqueOrThrow({ where: { id: rowId(agentId) } })
  const member = { id: newId(), workspaceId, userId: rowId(reader.id), role: 'VIEWER' as const }
  await app.services.db.prisma.workspaceMember.create({ data: member })
})
afterAll(() => app[Symbol.asyncDispose]())

const newInput = (input: Record<string, unknown> = {}) => ({
  name: `Schedule ${(names += 1)}`,
  cron: '0 9 * * MON-FRI',
  timeZone: 'Europe/Berlin',
  task: { agentId, prompt: 'Go.' },
  ...input,
})
const create = (input: Record<string, unknown> = {}) => mine.create(newInput(input))

const inputTypes = {
  createSchedule: 'CreateScheduleInput',
  updateSchedule: 'UpdateScheduleInput',
  deleteSchedule: 'ScheduleInput',
}

/** The error that it is refused with. */
async function refused(name: keyof typeof inputTypes, input: unknown, token = owner.token): Promise<GraphQLErrorJson> {
  const operation = `mutation ($input: ${inputTypes[name]}!) { ${name}(input: $input) { schedule { id } } }`
  const { errors } = await app.graphql(operation, { input }, { token })
  if (errors?.[0] === undefined) throw new Error('it was not refused')
  return errors[0]
}

const schedulesOf = async (token: string, workspace: string) =>
  (
    await app.data<{ workspace: { schedules: { name: string }[] } | null }>(
      'query ($id: ID) { workspace(id: $id) { schedules { name } } }',
      { id: workspace },
      { token },
    )
  ).workspace?.schedules.map(({ name }) => name)

async function myWorkspaceId(): Promise<string> {
  const query = 'query { workspace { id } }'
  return (await app.data<{ workspace: { id: string } }>(query, {}, { token: owner.token })).workspace.id
}

describe('createSchedule', () => {
  test('gives back what was asked for, and the next time', async () => {
    const task = { agentId, prompt: 'Write a report.', name: 'Report', input: { of: 'sales' }, priority: 5 }

    const schedule = await create({ name: 'Reports', cron: ' 0  9 * * MON-FRI', task })

    expect(schedule).toMatchObject({ name: 'Reports', cron: '0 9 * * MON-FRI', timeZone: 'Europe/Berlin' })
    expect(schedule).toMatchObject({ paused: false, pausedReason: null, lastTask: null, template: task })
    expect(await mine.read(schedule.id)).toEqual(schedule)
    const nextRunAt = new Date(schedule.nextRunAt ?? '')
    expect(nextRunAt.getTime()).toBeGreaterThan(Date.now())
    const local = new Intl.DateTimeFormat('en-GB', { timeZone: 'Europe/Berlin', timeStyle: 'short' }).format(nextRunAt)
    expect(local).toBe('09:00')
  })

  test('means UTC when no time zone is given', async () => {
    expect(await create({ timeZone: undefined })).toMatchObject({ timeZone: 'UTC' })
    expect(await create({ timeZone: null })).toMatchObject({ timeZone: 'UTC' })
  })

  test.each([
    [{ cron: '0 25 * * *' }, 'input.cron', 'must have a valid hour (0-23)'],
    [{ cron: '* * * * * *' }, 'input.cron', 'must have five fields, not six'],
    [{ cron: '0 0 30 2 *' }, 'input.cron', 'must name a time that comes'],
    [{ cron: `${'0,'.repeat(200)}0 * * * *` }, 'input.cron', 'must have at most 200 characters'],
    [{ timeZone: 'Berlin' }, 'input.timeZone', 'must be a name of the IANA time zone database'],
    [{ name: ' ' }, 'input.name', 'must not be empty'],
  ])('refuses %j', async (input, field, message) => {
    const { extensions } = await refused('createSchedule', newInput(input))
    expect(extensions).toMatchObject({ code: 'BAD_USER_INPUT', details: { field, problems: [{ field, message }] } })
  })

  test('suggests what would be right', async () => {
    const { extensions } = await refused('createSchedule', newInput({ cron: '* * * * * *', timeZone: 'berlin' }))
    expect(extensions.suggestions).toEqual([
      'Leave the seconds out: a schedule is due once a minute at most.',
      'For example: Europe/Berlin.',
    ])
  })

  test.each([
    ['runAt', '2030-01-01T00:00:00Z', 'must not be given: the schedule says when'],
    ['idempotencyKey', 'once', 'must not be given: each due time makes one task'],
    ['onDependencyFailure', 'RUN', 'must not be given: the tasks of a schedule wait for no others'],
    ['priority', 101, 'must be a whole number from -100 to 100'],
    ['prompt', '', 'must not be empty'],
    ['timeoutMs', 1, 'must be a whole number from 1000 to 3600000'],
  ])('refuses a template with the wrong %s', async (key, value, message) => {
    const { extensions } = await refused('createSchedule', newInput({ task: { agentId, prompt: 'Go.', [key]: value } }))
    const field = `input.task.${key}`
    expect(extensions).toMatchObject({ code: 'BAD_USER_INPUT', details: { field, problems: [{ field, message }] } })
  })

  test('refuses a name that another schedule of the workspace has', async () => {
    const { name, id } = await create()
    const taken = await refused('createSchedule', newInput({ name }))
    expect(taken.extensions).toMatchObject({ code: 'CONFLICT', details: { field: 'input.name' } })

    await mine.delete(id)

    expect(await create({ name })).toMatchObject({ name })
  })

  test('refuses an archived agent', async () => {
    const archived = await mine.createAgent({ name: 'Archived' })
    await mine.act('archiveAgent', archived)
    const { extensions } = await refused('createSchedule', newInput({ task: { agentId: archived, prompt: 'Go.' } }))
    expect(extensions).toMatchObject({ code: 'CONFLICT', details: { field: 'input.task.agentId' } })
  })

  test('a workspace has a limited number of schedules, also when many are made at once', async () => {
    const crowded = createScheduler(app, stranger.token)
    const task = { agentId: await crowded.createAgent(), prompt: 'Go.' }
    const { id } = await crowded.create({ name: 'First', cron: '@daily', task })
    const { id: _, name: __, ...row } = await crowded.row(id)
    const left = 3
    await app.services.db.prisma.schedule.createMany({
      data: Array.from({ length: scheduleLimits.perWorkspace - 1 - left }, (__unused, n) => ({
        ...row,
        id: newId(),
        name: `S${n}`,
        template: {},
      })),
    })

    const results = await Promise.allSettled(
      Array.from({ length: left * 2 }, (__unused, n) => crowded.create({ name: `Late ${n}`, cron: '@daily', task })),
    )

    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(left)
    const { extensions } = await refused('createSchedule', { name: 'More', cron: '@daily', task }, stranger.token)
    expect(extensions).toMatchObject({ code: 'CONFLICT', details: { limit: scheduleLimits.perWorkspace } })
  })
})

describe('updateSchedule', () => {
  test('other times count from now', async () => {
    const { id } = await create({ cron: '0 0 1 1 *', timeZone: 'UTC' })

    const hourly = await mine.update({ id, cron: '@hourly' })
    expect(hourly.cron).toBe('@hourly')
    expect(new Date(hourly.nextRunAt ?? '').getTime() - Date.now()).toBeLessThanOrEqual(3_600_000)

    await mine.update({ id, cron: '0 0 1 1 *' })
    const elsewhere = await mine.update({ id, timeZone: 'Asia/Tokyo' })
    expect(elsewhere.nextRunAt).toMatch(/-12-31T15:00:00.000Z$/)
  })

  test('a pause has no next time, and ends from now', async () => {
    const { id, nextRunAt } = await create()
    expect(await mine.update({ id, paused: true })).toMatchObject({ paused: true, nextRunAt: null, pausedReason: null })
    expect(await mine.update({ id, cron: '0 9 * * MON-FRI' })).toMatchObject({ paused: true, nextRunAt: null })
    expect(await mine.update({ id, paused: false })).toMatchObject({ paused: false, nextRunAt })
  })

  test('what is not given stays', async () => {
    const { id, name, cron } = await create()
    const { nextRunAt } = await mine.row(id)
    const updated = await mine.update({ id, paused: false, cron, task: { agentId, prompt: 'Something else.' } })
    expect(updated).toMatchObject({ name, cron, template: { agentId, prompt: 'Something else.' } })
    expect((await mine.row(id)).nextRunAt).toEqual(nextRunAt)
  })

  test.each([
    [{ cron: 'never' }, 'input.cron'],
    [{ cron: null }, 'input.cron'],
    [{ timeZone: null }, 'input.timeZone'],
    [{ paused: null }, 'input.paused'],
    [{ task: null }, 'input.task'],
  ])('refuses %j', async (changes, field) => {
    const { id } = await create()
    const { extensions } = await refused('updateSchedule', { id, ...changes })
    expect(extensions).toMatchObject({ code: 'BAD_USER_INPUT', details: { field } })
  })

  test('refuses an agent of another workspace, though it is one’s own', async () => {
    const { id } = await create()
    const workspace = await app.data<{ createWorkspace: { workspace: { id: string } } }>(
      'mutation { createWorkspace(input: { name: "Other" }) { workspace { id } } }',
      {},
      { token: owner.token },
    )
    const other = await mine.createAgent({ workspaceId: workspace.createWorkspace.workspace.id })
    const { extensions } = await refused('updateSchedule', { id, task: { agentId: other, prompt: 'Go.' } })
    expect(extensions).toMatchObject({ code: 'NOT_FOUND', details: { field: 'input.task.agentId' } })
  })
})

test('deleteSchedule gives it back as it was; its tasks stay and name it no more', async () => {
  const schedule = await create()
  const { db } = app.services
  await mine.makeDue(schedule.id, new Date(Date.now() - 1_000))
  await vi.waitFor(async () => expect(await mine.tasks(schedule.id)).toHaveLength(1), 20_000)
  const [task] = await mine.tasks(schedule.id)
  const readTask = async () =>
    app.data(
      'query ($id: ID!) { task(id: $id) { schedule { name } scheduledFor } }',
      { id: encodeGlobalID('Task', task?.id ?? '') },
      { token: owner.token },
    )
  const scheduledFor = task?.scheduledFor?.toISOString()
  expect(await readTask()).toEqual({ task: { schedule: { name: schedule.name }, scheduledFor } })

  expect(await mine.delete(schedule.id)).toMatchObject({ name: schedule.name, template: schedule.template })

  expect(await mine.read(schedule.id)).toBe(null)
  expect(await readTask()).toEqual({ task: { schedule: null, scheduledFor } })
  expect(await schedulesOf(owner.token, await myWorkspaceId())).not.toContain(schedule.name)
  expect((await db.prisma.schedule.findUnique({ where: { id: rowId(schedule.id) } }))?.template).toEqual({})
  expect((await refused('deleteSchedule', { id: schedule.id })).extensions.code).toBe('NOT_FOUND')
})

test('what is done is in the audit log', async () => {
  const { id } = await create()
  await mine.update({ id, paused: true })
  await mine.delete(id)

  const events = await app.services.db.prisma.auditEvent.findMany({
    where: { target: rowId(id) },
    orderBy: { id: 'asc' },
  })

  expect(events.map(({ action }) => action)).toEqual(['schedule.created', 'schedule.updated', 'schedule.deleted'])
  expect(new Set(events.map(({ actorId }) => actorId))).toEqual(new Set([rowId(owner.id)]))
})

describe('who may', () => {
  test('a VIEWER reads schedules and changes none', async () => {
    const { id, name } = await create()
    expect(await createScheduler(app, reader.token).read(id)).toMatchObject({ name })
    expect(await schedulesOf(reader.token, await myWorkspaceId())).toContain(name)
    for (const [mutation, input] of [
      ['createSchedule', newInput()],
      ['updateSchedule', { id, paused: true }],
      ['deleteSchedule', { id }],
    ] as const) {
      expect((await refused(mutation, input, reader.token)).extensions.code).toBe('FORBIDDEN')
    }
    expect(await mine.read(id)).toMatchObject({ paused: false })
  })

  test('to somebody else a schedule is like a missing one', async () => {
    const { id } = await create()
    const missing = encodeGlobalID('Schedule', newId())
    expect(await createScheduler(app, stranger.token).read(id)).toBe(null)
    const told = async (mutation: 'updateSchedule' | 'deleteSchedule', which: string) => {
      const input = mutation === 'deleteSchedule' ? { id: which } : { id: which, paused: true }
      const { message, extensions } = await refused(mutation, input, stranger.token)
      return { message, code: extensions.code, details: extensions.details }
    }
    for (const mutation of ['updateSchedule', 'deleteSchedule'] as const)
      expect(await told(mutation, id)).toEqual(await told(mutation, missing))
    const foreignAgent = await refused('createSchedule', newInput(), stranger.token)
    expect(foreignAgent.extensions).toMatchObject({ code: 'NOT_FOUND', details: { field: 'input.task.agentId' } })
    expect(await mine.read(id)).toMatchObject({ paused: false })
  })
})
