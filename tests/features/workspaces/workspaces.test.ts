import { afterAll, describe, expect, test } from 'vitest'
import { createWorkspaceAccess } from '../../../src/features/workspaces/access.ts'
import { createWorkspaces } from '../../../src/features/workspaces/workspaces.ts'
import { newId } from '../../../src/lib/ids.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { fixedClock, insertMember, insertUser, start } from './rows.ts'

const db = await startTestDatabase()
afterAll(() => db[Symbol.asyncDispose]())

const access = createWorkspaceAccess({ db })
const workspaces = createWorkspaces({ db, clock: fixedClock, newId, access })
const origin = { ip: '203.0.113.7', requestId: 'request-1' }

describe('access', () => {
  test.each([
    ['OWNER', 'OWNER', true],
    ['OWNER', 'VIEWER', true],
    ['MEMBER', 'OWNER', false],
    ['MEMBER', 'MEMBER', true],
    ['MEMBER', 'VIEWER', true],
    ['VIEWER', 'MEMBER', false],
    ['VIEWER', 'VIEWER', true],
  ] as const)('of a(n) %s as %s: %s', async (role, needed, isAllowed) => {
    const { workspaceId } = await insertUser(db)
    const viewer = await insertMember(db, workspaceId, role)
    const asked = access.require(viewer, workspaceId, needed)
    await (isAllowed
      ? expect(asked).resolves.toEqual({ id: expect.any(String), workspaceId, userId: viewer.userId, role })
      : expect(asked).rejects.toMatchObject({ code: 'FORBIDDEN', details: { role, needed } }))
  })

  test('does not tell a foreign workspace from a missing one', async () => {
    const { viewer } = await insertUser(db)
    const other = await insertUser(db)
    const refusals = await Promise.all(
      [other.workspaceId, newId()].map((id) => access.require(viewer, id, 'VIEWER').catch((error: unknown) => error)),
    )
    expect(refusals[0]).toEqual(refusals[1])
    expect(refusals[0]).toMatchObject({ code: 'NOT_FOUND', details: {} })
  })

  test('is gone as soon as the membership is', async () => {
    const { workspaceId } = await insertUser(db)
    const viewer = await insertMember(db, workspaceId, 'MEMBER')
    await access.require(viewer, workspaceId, 'MEMBER')
    await db.prisma.workspaceMember.deleteMany({ where: { workspaceId, userId: viewer.userId } })
    await expect(access.require(viewer, workspaceId, 'VIEWER')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('finds the personal workspace when none is named', async () => {
    const { viewer, workspaceId } = await insertUser(db)
    const other = await insertUser(db)
    expect(await access.personalWorkspaceId(viewer)).toBe(workspaceId)
    expect(await access.readableWorkspaceId(viewer, null)).toBe(workspaceId)
    await expect(access.readableWorkspaceId(viewer, other.workspaceId)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('create', () => {
  test('makes a workspace with its owner, its feed and its audit event', async () => {
    const { viewer } = await insertUser(db)
    const workspace = await workspaces.create(viewer, { name: '  Cafe\u0301 ' }, origin)
    expect(workspace).toEqual({ id: expect.any(String), name: 'Café', personalOfId: null, createdAt: start })
    expect(await access.require(viewer, workspace.id, 'OWNER')).toMatchObject({ role: 'OWNER' })
    const where = { workspaceId: workspace.id }
    expect(await db.prisma.workspaceCounter.findUnique({ where })).toEqual({ ...where, feedSeq: 0n })
    expect(await db.prisma.auditEvent.findMany({ where })).toEqual([
      {
        id: expect.any(String),
        at: start,
        actorId: viewer.userId,
        ...where,
        action: 'workspace.created',
        target: workspace.id,
        ...origin,
        details: null,
      },
    ])
  })

  test.each([
    ['', 'must not be empty'],
    [' \t', 'must not be empty'],
    ['x'.repeat(101), 'must have at most 100 characters'],
    ['a\nb', 'must not contain control characters'],
    ['a\u0000b', 'must not contain control characters'],
    ['a\ud800', 'must not contain control characters'],
  ])('refuses the name %j', async (name, message) => {
    const { viewer } = await insertUser(db)
    await expect(workspaces.create(viewer, { name })).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
      details: { field: 'input.name', problems: [{ field: 'input.name', message }] },
    })
  })

  test('counts characters as people do, not code units', async () => {
    const { viewer } = await insertUser(db)
    const name = '😀'.repeat(100)
    expect(await workspaces.create(viewer, { name })).toMatchObject({ name })
  })
})

describe('update', () => {
  test('renames, and records who did', async () => {
    const { viewer, workspaceId } = await insertUser(db)
    expect(await workspaces.update(viewer, { id: workspaceId, name: 'New' }, origin)).toMatchObject({ name: 'New' })
    expect(await db.prisma.auditEvent.findMany({ where: { workspaceId } })).toMatchObject([
      { action: 'workspace.updated', actorId: viewer.userId, target: workspaceId, ...origin },
    ])
  })

  test('is for owners', async () => {
    const { workspaceId } = await insertUser(db)
    const member = await insertMember(db, workspaceId, 'MEMBER')
    const rename = workspaces.update(member, { id: workspaceId, name: 'Mine' })
    await expect(rename).rejects.toMatchObject({ code: 'FORBIDDEN' })
  })

  test('tells a stranger nothing, not even that the name is wrong', async () => {
    const { workspaceId } = await insertUser(db)
    const { viewer } = await insertUser(db)
    const rename = workspaces.update(viewer, { id: workspaceId, name: '' })
    await expect(rename).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
