import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openAccessChanges } from '../../../src/features/accounts/access-changes.ts'
import { createLiveAccess } from '../../../src/features/workspaces/live-access.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createInProcessEvents } from '../../../src/platform/events/in-process.ts'
import { createLogger } from '../../../src/platform/logger.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { insertMember, insertUser } from './rows.ts'
import { insertSharedWorkspace, type Role, type SharedWorkspace } from './workspace-factory.ts'

const app = await startTestApp({ overrides: { demoTokenDelayMs: 200 } })
const { db } = app.services
afterAll(() => app[Symbol.asyncDispose]())

let people: Record<Role, TestUser>
let ids: SharedWorkspace
beforeAll(async () => {
  people = { OWNER: await app.signUp(), MEMBER: await app.signUp(), VIEWER: await app.signUp() }
  ids = await insertSharedWorkspace(app, people, await app.signUp())
})

const remove = 'mutation ($id: ID!) { removeWorkspaceMember(input: { id: $id }) { workspace { id } } }'
const setRole =
  'mutation ($id: ID!, $role: WorkspaceRole!) { setWorkspaceMemberRole(input: { id: $id, role: $role }) { member { role } } }'
const feed = 'subscription ($id: ID!) { workspaceFeed(workspaceId: $id) { __typename } }'
const stream = 'subscription ($id: ID!) { taskStream(taskId: $id) { __typename } }'
const completion =
  'subscription ($id: ID!) { completion(input: { workspaceId: $id, prompt: "Tell me much." }) { __typename } }'

type Results = AsyncGenerator<{ errors?: { extensions: { code: string } }[] }>

/** Reads until the stream is refused, and on to its end; returns the code of the refusal. */
async function refusalOf(results: Results): Promise<string | undefined> {
  let code: string | undefined
  for await (const { errors } of results) code ??= errors?.[0]?.extensions.code
  return code
}

describe.each(['websocket', 'event-stream'] as const)('over %s', (over) => {
  test.each([
    ['the feed', feed, () => ids.workspace],
    ['a task stream', stream, () => ids.task],
  ])('%s of a workspace ends when its reader is taken out', async (_what, document, idOf) => {
    ids = await insertSharedWorkspace(app, people, await app.signUp())
    const results = app.subscribe(document, { id: idOf() }, { token: people.VIEWER.token, over })
    expect((await results.next()).value).toMatchObject({ data: expect.anything() })
    const refused = refusalOf(results)
    await app.data(remove, { id: ids.members.VIEWER }, people.OWNER)
    expect(await refused).toBe('NOT_FOUND')
  })

  test('a completion is aborted when its reader may only look from now on; a feed goes on', async () => {
    ids = await insertSharedWorkspace(app, people, await app.signUp())
    const { token } = people.MEMBER
    const reading = app.subscribe(feed, { id: ids.workspace }, { token, over })
    expect((await reading.next()).value).toMatchObject({ data: expect.anything() })
    const asking = app.subscribe(completion, { id: ids.workspace }, { token, over })
    expect((await asking.next()).value).toMatchObject({ data: expect.anything() })
    const refused = refusalOf(asking)
    await app.data(setRole, { id: ids.members.MEMBER, role: 'VIEWER' }, people.OWNER)
    expect(await refused).toBe('FORBIDDEN')
    const create =
      'mutation ($id: ID!) { createTask(input: { agentId: $id, prompt: "x", runAt: "2100-01-01T00:00:00.000Z" }) { task { id } } }'
    await app.data(create, { id: ids.agent }, people.OWNER)
    expect((await reading.next()).value).toMatchObject({ data: { workspaceFeed: { __typename: 'TaskChanged' } } })
    await reading.return()
  })
})

describe('a guard', () => {
  const logger = createLogger({ level: 'silent' })

  async function* silence(): AsyncGenerator<number, void, undefined> {
    yield 1
    await new Promise(() => undefined)
  }

  test('notices without a message, by looking again', async () => {
    const changes = await openAccessChanges({ events: createInProcessEvents(), newId, logger })
    const live = createLiveAccess({ db, changes, logger, sweepEveryMs: 50 })
    const { workspaceId } = await insertUser(db)
    const viewer = await insertMember(db, workspaceId, 'MEMBER')
    const items = await live.guard({ viewer, workspaceId, role: 'MEMBER' }, silence)
    expect(await items.next()).toEqual({ done: false, value: 1 })
    const next = items.next()
    await db.prisma.workspaceMember.updateMany({
      where: { userId: viewer.userId, workspaceId },
      data: { role: 'VIEWER' },
    })
    await expect(next).rejects.toMatchObject({ code: 'FORBIDDEN' })
    expect(await items.next()).toEqual({ done: true, value: undefined })
    live.close()
    await changes.close()
  })

  test('does not miss what changes while the stream is being opened', async () => {
    const changes = await openAccessChanges({ events: createInProcessEvents(), newId, logger })
    const live = createLiveAccess({ db, changes, logger })
    const { workspaceId } = await insertUser(db)
    const viewer = await insertMember(db, workspaceId, 'VIEWER')
    const { userId } = viewer
    const items = await live.guard({ viewer, workspaceId, role: 'VIEWER' }, async () => {
      await db.prisma.workspaceMember.deleteMany({ where: { userId, workspaceId } })
      changes.announce([{ kind: 'member', userId, workspaceId }])
      return silence()
    })
    const untilRefused = async (): Promise<void> => {
      for await (const item of items) expect(item).toBe(1)
    }
    await expect(untilRefused()).rejects.toMatchObject({ code: 'NOT_FOUND' })
    live.close()
    await changes.close()
  })
})
