import { encodeGlobalID } from '@pothos/plugin-relay'
import { newId } from '../../../src/lib/ids.ts'
import type { TestApp, TestUser } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'
import { insertAgent, insertTask } from './rows.ts'

export type Role = 'OWNER' | 'MEMBER' | 'VIEWER'

/** Global ids of one of each that a shared workspace has. */
export type SharedWorkspace = {
  workspace: string
  agent: string
  task: string
  apiKey: string
  /** By role, of the people who were put in. */
  members: Record<Role, string>
  /** The membership of somebody else, a MEMBER. */
  bystander: string
}

/** A workspace with these people in these roles, an agent, a task that waits, the owner's API key and a bystander; as rows. */
export async function insertSharedWorkspace(
  app: TestApp,
  people: Record<Role, TestUser>,
  bystander: TestUser,
): Promise<SharedWorkspace> {
  const { db } = app.services
  const workspaceId = newId()
  await db.prisma.workspace.create({ data: { id: workspaceId, name: 'Shared', counter: { create: {} } } })
  const join = async (user: TestUser, role: Role): Promise<string> => {
    const id = newId()
    await db.prisma.workspaceMember.create({ data: { id, workspaceId, userId: rowId(user.id), role } })
    return encodeGlobalID('WorkspaceMember', id)
  }
  const members = {
    OWNER: await join(people.OWNER, 'OWNER'),
    MEMBER: await join(people.MEMBER, 'MEMBER'),
    VIEWER: await join(people.VIEWER, 'VIEWER'),
  }
  const bystanderId = await join(bystander, 'MEMBER')
  const agentId = await insertAgent(db, workspaceId)
  const runAt = new Date('2100-01-01T00:00:00.000Z')
  const taskId = await insertTask(db, { workspaceId, agentId }, { status: 'SCHEDULED', runAt })
  const apiKeyId = newId()
  const key = { name: 'A program', prefix: apiKeyId.slice(-12), secretHash: Buffer.alloc(32), scopes: [] }
  await db.prisma.apiKey.create({
    data: { id: apiKeyId, workspaceId, createdById: rowId(people.OWNER.id), ...key },
  })
  return {
    workspace: encodeGlobalID('Workspace', workspaceId),
    agent: encodeGlobalID('Agent', agentId),
    task: encodeGlobalID('Task', taskId),
    apiKey: encodeGlobalID('ApiKey', apiKeyId),
    members,
    bystander: bystanderId,
  }
}
