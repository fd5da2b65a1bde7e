import { afterAll, describe, expect, test } from 'vitest'
import { createAgents, type AgentsDeps } from '../../../src/features/agents/agents.ts'
import type { AgentFields } from '../../../src/features/agents/agent-definition.ts'
import { createWorkspaceAccess } from '../../../src/features/workspaces/access.ts'
import { BadUserInputError } from '../../../src/lib/errors.ts'
import { newId } from '../../../src/lib/ids.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { fixedClock, insertMember, insertUser, start } from '../workspaces/rows.ts'

const db = await startTestDatabase()
afterAll(() => db[Symbol.asyncDispose]())

const access = createWorkspaceAccess({ db })
const definition = { name: 'Helper', instructions: 'Help.' }

/** Agents of which `demo/…` are the only models, and what they have asked for. */
function setUp(overrides: Partial<AgentsDeps> = {}) {
  const ready: string[] = []
  const cancelled: string[] = []
  const agents = createAgents({
    db,
    clock: fixedClock,
    newId,
    access,
    resolveModels: (models) => {
      if (models.some((model) => !model.startsWith('demo/'))) throw new BadUserInputError('models', 'no such model')
    },
    compileOutputSchema: (schema) => {
      if (schema['type'] === 'nonsense') throw new BadUserInputError('outputSchema', 'not a JSON Schema')
    },
    onAgentReady: ({ id }) => void ready.push(id),
    cancelWaitingTasks: async (id) => void cancelled.push(id),
    ...overrides,
  })
  return { agents, ready, cancelled }
}

async function auditOf(agentId: string) {
  const events = await db.prisma.auditEvent.findMany({ where: { target: agentId }, orderBy: { id: 'asc' } })
  return events.map(({ action, actorId, ip, requestId, details }) => ({ action, actorId, ip, requestId, details }))
}

describe('create', () => {
  test('fills in the defaults, in the personal workspace', async () => {
    const { viewer, workspaceId } = await insertUser(db)
    const { agents } = setUp()
    const agent = await agents.create(viewer, definition, { ip: '203.0.113.7', requestId: 'request-1' })
    expect(agent).toEqual({
      id: expect.any(String),
      workspaceId,
      ...definition,
      description: null,
      models: [],
      temperature: null,
      maxOutputTokens: null,
      outputSchema: null,
      concurrency: 10,
      requestsPerMinute: null,
      tokensPerMinute: null,
      lastClaimedAt: null,
      maxAttempts: 3,
      retryInitialDelayMs: 1_000,
      retryMaxDelayMs: 60_000,
      timeoutMs: 600_000,
      crashPolicy: 'RETRY',
      status: 'ACTIVE',
      state: {},
      stateVersion: 1,
      version: 1,
      createdAt: start,
      updatedAt: start,
    })
    expect(await auditOf(agent.id)).toEqual([
      {
        action: 'agent.created',
        actorId: viewer.userId,
        ip: '203.0.113.7',
        requestId: 'request-1',
        details: { version: 1, stateVersion: 1 },
      },
    ])
  })

  test('keeps everything that is given', async () => {
    const { viewer, workspaceId } = await insertUser(db)
    const given = {
      description: 'For tests.',
      models: ['demo/a', 'demo/b'],
      temperature: 0,
      maxOutputTokens: 1_000_000,
      outputSchema: { type: 'object' },
      concurrency: 1_000,
      timeoutMs: 1_000,
      crashPolicy: 'FAIL' as const,
      state: { seen: [1, null, { deep: 'yes' }] },
    }
    const retryPolicy = { maxAttempts: 20, initialDelayMs: 0, maxDelayMs: 86_400_000 }
    const agent = await setUp().agents.create(viewer, { ...definition, ...given, retryPolicy, workspaceId })
    const policy = { maxAttempts: 20, retryInitialDelayMs: 0, retryMaxDelayMs: 86_400_000 }
    expect(agent).toMatchObject({ ...definition, ...given, ...policy, workspaceId })
  })

  test('takes null for the default', async () => {
    const { viewer } = await insertUser(db)
    const nothing = {
      models: null,
      concurrency: null,
      retryPolicy: { maxAttempts: null },
      state: null,
      timeoutMs: null,
    }
    const agent = await setUp().agents.create(viewer, { ...definition, ...nothing })
    expect(agent).toMatchObject({ models: [], concurrency: 10, maxAttempts: 3, state: {}, timeoutMs: 600_000 })
  })

  test.each<[string, AgentFields]>([
    ['name', { name: '' }],
    ['name', { name: 'x'.repeat(101) }],
    ['name', { name: 'two\nlines' }],
    ['name', { name: undefined }],
    ['description', { description: 'x'.repeat(2_001) }],
    ['instructions', { instructions: '' }],
    ['instructions', { instructions: 'é'.repeat(32_769) }],
    ['instructions', { instructions: 'half a pair: \ud800' }],
    ['models', { models: Array.from({ length: 9 }, () => 'demo/a') }],
    ['models.1', { models: ['demo/a', 'unknown/b'] }],
    ['temperature', { temperature: 2.1 }],
    ['temperature', { temperature: -0.1 }],
    ['temperature', { temperature: Number.NaN }],
    ['maxOutputTokens', { maxOutputTokens: 0 }],
    ['maxOutputTokens', { maxOutputTokens: 1_000_001 }],
    ['outputSchema', { outputSchema: [] }],
    ['outputSchema', { outputSchema: { type: 'nonsense' } }],
    ['outputSchema', { outputSchema: { description: 'x'.repeat(65_536) } }],
    ['concurrency', { concurrency: 0 }],
    ['concurrency', { concurrency: 1_001 }],
    ['concurrency', { concurrency: 1.5 }],
    ['retryPolicy.maxAttempts', { retryPolicy: { maxAttempts: 21 } }],
    ['retryPolicy.initialDelayMs', { retryPolicy: { initialDelayMs: 600_001, maxDelayMs: 700_000 } }],
    ['retryPolicy.maxDelayMs', { retryPolicy: { maxDelayMs: 86_400_001 } }],
    ['retryPolicy.maxDelayMs', { retryPolicy: { initialDelayMs: 2_000, maxDelayMs: 1_999 } }],
    ['retryPolicy.maxDelayMs', { retryPolicy: { initialDelayMs: 60_001 } }],
    ['timeoutMs', { timeoutMs: 999 }],
    ['timeoutMs', { timeoutMs: 3_600_001 }],
    ['state', { state: 'text' }],
    ['state', { state: [] }],
    ['state', { state: { text: 'x'.repeat(65_536) } }],
    ['state', { state: { nul: '\u0000' } }],
    ['state', { state: { '\ud800': 'a key' } }],
  ])('refuses a wrong %s: %j', async (field, fields) => {
    const { viewer } = await insertUser(db)
    const creation = setUp().agents.create(viewer, { ...definition, ...fields })
    await expect(creation).rejects.toMatchObject({ code: 'BAD_USER_INPUT', details: { field: `input.${field}` } })
    expect(await db.prisma.agent.count({ where: { workspace: { personalOfId: viewer.userId } } })).toBe(0)
  })

  test('names all that is wrong at once', async () => {
    const { viewer } = await insertUser(db)
    const wrong = { name: '', instructions: '', temperature: 3, models: ['nobody/x'], retryPolicy: { maxAttempts: 0 } }
    const problem = (field: string, message: string) => ({ field: `input.${field}`, message })
    await expect(setUp().agents.create(viewer, wrong)).rejects.toMatchObject({
      details: {
        field: 'input.name',
        problems: [
          problem('name', 'must not be empty'),
          problem('instructions', 'must not be empty'),
          problem('temperature', 'must be a number from 0 to 2'),
          problem('models.0', 'no such model'),
          problem('retryPolicy.maxAttempts', 'must be a whole number from 1 to 20'),
        ],
      },
    })
  })

  test('does not take a bug in a check for a wrong argument', async () => {
    const { viewer } = await insertUser(db)
    const resolveModels = (): void => {
      throw new TypeError('a bug')
    }
    const creation = setUp({ resolveModels }).agents.create(viewer, { ...definition, models: ['demo/a'] })
    await expect(creation).rejects.toThrow(TypeError)
  })

  test('is for members, and a foreign workspace is like a missing one', async () => {
    const { workspaceId } = await insertUser(db)
    const { agents } = setUp()
    const reader = await insertMember(db, workspaceId, 'VIEWER')
    const member = await insertMember(db, workspaceId, 'MEMBER')
    const { viewer: stranger } = await insertUser(db)
    const create = (viewer: typeof member, id: string) => agents.create(viewer, { ...definition, workspaceId: id })
    await expect(create(member, workspaceId)).resolves.toMatchObject({ workspaceId })
    await expect(create(reader, workspaceId)).rejects.toMatchObject({ code: 'FORBIDDEN' })
    await expect(create(stranger, workspaceId)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(create(stranger, newId())).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('update', () => {
  async function makeAgent(fields: AgentFields = {}) {
    const { viewer, workspaceId } = await insertUser(db)
    const { agents, ...asked } = setUp()
    const agent = await agents.create(viewer, { ...definition, ...fields })
    return { viewer, workspaceId, agents, agent, ...asked }
  }

  test('keeps what is absent, clears what is null, and raises the version', async () => {
    const filled = { description: 'Old.', temperature: 1, maxOutputTokens: 5, outputSchema: {}, models: ['demo/a'] }
    const { viewer, agents, agent } = await makeAgent(filled)
    const cleared = { description: null, temperature: null, maxOutputTokens: null, outputSchema: null }
    const changed = await agents.update(viewer, { id: agent.id, name: 'New', ...cleared })
    expect(changed).toEqual({ ...agent, ...cleared, name: 'New', version: 2 })
    expect(changed).toMatchObject({ models: ['demo/a'], stateVersion: 1 })
  })

  test('changes every field', async () => {
    const { viewer, agents, agent } = await makeAgent()
    const changes = {
      name: 'New',
      description: 'For tests.',
      instructions: 'Do.',
      models: ['demo/b', 'demo/a'],
      temperature: 0.5,
      maxOutputTokens: 10,
      outputSchema: { type: 'object', properties: {} },
      concurrency: 3,
      timeoutMs: 2_000,
      crashPolicy: 'FAIL' as const,
      state: { n: 1 },
    }
    const retryPolicy = { maxAttempts: 5, initialDelayMs: 10, maxDelayMs: 20 }
    const changed = await agents.update(viewer, { id: agent.id, ...changes, retryPolicy })
    const policy = { maxAttempts: 5, retryInitialDelayMs: 10, retryMaxDelayMs: 20 }
    expect(changed).toEqual({ ...agent, ...changes, ...policy, version: 2, stateVersion: 2 })
  })

  test('raises only the state’s version for the state, also for an equal one', async () => {
    const { viewer, agents, agent } = await makeAgent()
    await agents.update(viewer, { id: agent.id, state: { n: 1 } })
    const again = await agents.update(viewer, { id: agent.id, state: { n: 1 } })
    expect(again).toMatchObject({ state: { n: 1 }, stateVersion: 3, version: 1 })
  })

  test('does not raise the version when nothing differs', async () => {
    const { viewer, agents, agent } = await makeAgent({ models: ['demo/a'], outputSchema: { a: 1, b: 2 } })
    const same = { name: agent.name, models: ['demo/a'], outputSchema: { b: 2, a: 1 }, retryPolicy: { maxAttempts: 3 } }
    expect(await agents.update(viewer, { id: agent.id, ...same })).toMatchObject({ version: 1, stateVersion: 1 })
  })

  test.each<[string, AgentFields]>([
    ['name', { name: null }],
    ['instructions', { instructions: null }],
    ['models', { models: null }],
    ['concurrency', { concurrency: null }],
    ['retryPolicy', { retryPolicy: null }],
    ['retryPolicy.maxAttempts', { retryPolicy: { maxAttempts: null } }],
    ['timeoutMs', { timeoutMs: null }],
    ['crashPolicy', { crashPolicy: null }],
    ['state', { state: null }],
    ['temperature', { temperature: 3 }],
    ['models.0', { models: ['nobody/x'] }],
    ['retryPolicy.maxDelayMs', { retryPolicy: { initialDelayMs: 5, maxDelayMs: 4 } }],
    // Against what stays: the first delay is 1 s, the longest 60 s.
    ['retryPolicy.maxDelayMs', { retryPolicy: { initialDelayMs: 60_001 } }],
    ['retryPolicy.maxDelayMs', { retryPolicy: { maxDelayMs: 999 } }],
  ])('refuses a wrong %s: %j', async (field, fields) => {
    const { viewer, agents, agent } = await makeAgent()
    const update = agents.update(viewer, { id: agent.id, description: 'changed', ...fields })
    await expect(update).rejects.toMatchObject({ code: 'BAD_USER_INPUT', details: { field: `input.${field}` } })
    expect(await db.prisma.agent.findUnique({ where: { id: agent.id } })).toEqual(agent)
    expect(await auditOf(agent.id)).toHaveLength(1)
  })

  test('refuses a version that is not the present one, and says which is', async () => {
    const { viewer, agents, agent } = await makeAgent()
    await agents.update(viewer, { id: agent.id, expectedVersion: 1, name: 'Second' })
    await expect(agents.update(viewer, { id: agent.id, expectedVersion: 1, name: 'Late' })).rejects.toMatchObject({
      code: 'CONFLICT',
      details: { version: 2, expectedVersion: 1 },
    })
    expect(await db.prisma.agent.findUnique({ where: { id: agent.id } })).toMatchObject({ name: 'Second', version: 2 })
  })

  test('lets one of many at the same version win', async () => {
    const { viewer, agents, agent } = await makeAgent()
    const updates = Array.from({ length: 10 }, (_, n) =>
      agents.update(viewer, { id: agent.id, expectedVersion: 1, name: `Name ${n}` }),
    )
    const results = await Promise.allSettled(updates)
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(await db.prisma.agent.findUnique({ where: { id: agent.id } })).toMatchObject({ version: 2 })
  })

  test('loses nothing when different fields are changed at once', async () => {
    const { viewer, agents, agent } = await makeAgent()
    const { id } = agent
    await Promise.all([
      agents.update(viewer, { id, name: 'New' }),
      agents.update(viewer, { id, description: 'New.' }),
      agents.update(viewer, { id, concurrency: 7 }),
      agents.update(viewer, { id, state: { n: 1 } }),
    ])
    expect(await db.prisma.agent.findUnique({ where: { id } })).toMatchObject({
      name: 'New',
      description: 'New.',
      concurrency: 7,
      state: { n: 1 },
      version: 4,
      stateVersion: 2,
    })
  })

  test('tells the workers when there is more room', async () => {
    const { viewer, agents, agent, ready } = await makeAgent()
    await agents.update(viewer, { id: agent.id, name: 'New' })
    expect(ready).toEqual([])
    await agents.update(viewer, { id: agent.id, concurrency: 20 })
    expect(ready).toEqual([agent.id])
  })
})

describe('pause, resume and archive', () => {
  test('go from state to state, and record it once', async () => {
    const { viewer } = await insertUser(db)
    const { agents, ready, cancelled } = setUp()
    const { id } = await agents.create(viewer, definition)
    expect(await agents.pause(viewer, id)).toMatchObject({ status: 'PAUSED', version: 1 })
    expect(await agents.pause(viewer, id)).toMatchObject({ status: 'PAUSED' })
    expect(ready).toEqual([])
    expect(await agents.resume(viewer, id)).toMatchObject({ status: 'ACTIVE' })
    expect(await agents.resume(viewer, id)).toMatchObject({ status: 'ACTIVE' })
    expect(ready).toEqual([id])
    expect(await agents.archive(viewer, id)).toMatchObject({ status: 'ARCHIVED' })
    expect(cancelled).toEqual([id])
    expect((await auditOf(id)).map(({ action }) => action)).toEqual([
      'agent.created',
      'agent.paused',
      'agent.resumed',
      'agent.archived',
    ])
  })

  test('archiving is for good, and repeats only its clearing up', async () => {
    const { viewer } = await insertUser(db)
    const { agents, cancelled } = setUp()
    const { id } = await agents.create(viewer, definition)
    await agents.archive(viewer, id)
    const conflict = { code: 'CONFLICT', details: { status: 'ARCHIVED' } }
    await expect(agents.pause(viewer, id)).rejects.toMatchObject(conflict)
    await expect(agents.resume(viewer, id)).rejects.toMatchObject(conflict)
    await expect(agents.update(viewer, { id, name: 'New' })).rejects.toMatchObject(conflict)
    expect(await agents.archive(viewer, id)).toMatchObject({ status: 'ARCHIVED' })
    expect(cancelled).toEqual([id, id])
    expect(await auditOf(id)).toHaveLength(2)
  })
})

test('a foreign agent is like a missing one, and a VIEWER may only look', async () => {
  const { viewer, workspaceId } = await insertUser(db)
  const { agents } = setUp()
  const { id } = await agents.create(viewer, definition)
  const { viewer: stranger } = await insertUser(db)
  const reader = await insertMember(db, workspaceId, 'VIEWER')
  const verbs = [
    (who: typeof viewer, which: string) => agents.update(who, { id: which, name: '' }),
    (who: typeof viewer, which: string) => agents.pause(who, which),
    (who: typeof viewer, which: string) => agents.resume(who, which),
    (who: typeof viewer, which: string) => agents.archive(who, which),
  ]
  for (const verb of verbs) {
    const [foreign, missing] = await Promise.all([verb(stranger, id), verb(stranger, newId())].map(failure))
    expect(foreign).toMatchObject({ code: 'NOT_FOUND' })
    expect(foreign).toEqual(missing)
    await expect(verb(reader, id)).rejects.toMatchObject({ code: 'FORBIDDEN' })
  }
  expect(await auditOf(id)).toHaveLength(1)
})

const failure = (attempt: Promise<unknown>): Promise<unknown> =>
  attempt.then(
    () => 'it succeeded',
    (error: unknown) => error,
  )
