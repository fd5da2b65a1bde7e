import { afterAll, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { graphql } from '../../support/gql/gql.ts'
import { startTestApp } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'
import { insertAgent, insertTask, insertUsage } from './rows.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())
const { db } = app.services

const create = graphql(`
  mutation CreateWorkspace($input: CreateWorkspaceInput!) {
    createWorkspace(input: $input) {
      workspace {
        id
        name
        personal
        createdAt
        feedCursor
        members {
          role
          user {
            id
          }
        }
      }
    }
  }
`)

const rename = graphql(`
  mutation RenameWorkspace($input: UpdateWorkspaceInput!) {
    updateWorkspace(input: $input) {
      workspace {
        name
      }
    }
  }
`)

const read = graphql(`
  query ReadWorkspace($id: ID) {
    workspace(id: $id) {
      name
      personal
      members {
        role
        user {
          email
        }
        workspace {
          name
        }
      }
      stats {
        blocked
        scheduled
        queued
        running
        succeededToday
        failedToday
        oldestQueuedAt
        usageToday {
          totalTokens
          costUsd
        }
      }
    }
  }
`)

test('a workspace is made with its owner, renamed, and read', async () => {
  const { token, id: userId, email } = await app.signUp()
  const { workspace } = (await app.data(create, { input: { name: ' Team ' } }, { token })).createWorkspace
  expect(workspace).toEqual({
    id: expect.any(String),
    name: 'Team',
    personal: false,
    createdAt: expect.any(String),
    feedCursor: expect.any(String),
    members: [{ role: 'OWNER', user: { id: userId } }],
  })
  const { id } = workspace
  const renamed = await app.data(rename, { input: { id, name: 'Crew' } }, { token })
  expect(renamed.updateWorkspace.workspace).toEqual({ name: 'Crew' })
  expect((await app.data(read, { id }, { token })).workspace).toMatchObject({
    name: 'Crew',
    personal: false,
    members: [{ role: 'OWNER', user: { email }, workspace: { name: 'Crew' } }],
  })
  expect((await app.data(read, {}, { token })).workspace).toMatchObject({ name: 'Personal', personal: true })
})

test('members see each other, by the time they came', async () => {
  const [owner, member] = [await app.signUp(), await app.signUp()]
  const { workspace } = (await app.data(create, { input: { name: 'Team' } }, { token: owner.token })).createWorkspace
  const membership = {
    id: newId(),
    workspaceId: rowId(workspace.id),
    userId: rowId(member.id),
    role: 'MEMBER' as const,
  }
  await db.prisma.workspaceMember.create({ data: membership })
  const seen = (await app.data(read, { id: workspace.id }, { token: member.token })).workspace?.members
  expect(seen?.map(({ role, user }) => [role, user.email])).toEqual([
    ['OWNER', owner.email],
    ['MEMBER', member.email],
  ])
})

test('statistics are of today', async () => {
  const { token } = await app.signUp()
  const { workspace } = (await app.data(create, { input: { name: 'Team' } }, { token })).createWorkspace
  const workspaceId = rowId(workspace.id)
  const agentId = await insertAgent(db, workspaceId, { status: 'PAUSED' })
  const queuedAt = new Date('2026-03-01T12:00:00.000Z')
  // A minute ahead, so that it is today also when midnight passes meanwhile.
  const [today, yesterday] = [new Date(Date.now() + 60_000), new Date(Date.now() - 25 * 3_600_000)]
  await insertTask(db, { workspaceId, agentId }, { status: 'QUEUED', queuedAt })
  await insertTask(db, { workspaceId, agentId }, { finishedAt: today })
  await insertTask(db, { workspaceId, agentId }, { status: 'FAILED', finishedAt: yesterday })
  await insertUsage(db, { workspaceId, agentId, at: today })
  await insertUsage(db, { workspaceId, agentId, at: yesterday })
  expect((await app.data(read, { id: workspace.id }, { token })).workspace?.stats).toEqual({
    blocked: 0,
    scheduled: 0,
    queued: 1,
    running: 0,
    succeededToday: 1,
    failedToday: 0,
    oldestQueuedAt: queuedAt.toISOString(),
    usageToday: { totalTokens: 150, costUsd: 0.001 },
  })
})
