import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createTransitions, type Transitions } from '../../../src/features/tasks/engine/transitions.ts'
import type { RunEnd } from '../../../src/features/tasks/engine/transition-input.ts'
import type { ClaimedRun } from '../../../src/features/tasks/engine/task-json.ts'
import type { Agent } from '../../../src/generated/prisma/client.ts'
import { newId } from '../../../src/lib/ids.ts'
import { answer, startModelServer, type ModelServer } from '../../support/model-server.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { startTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { createReader } from '../../support/task-reader.ts'

const leaseMs = 60_000
const processId = newId()

describe('written with the end of a run', () => {
  let db: TestDatabase
  let transitions: Transitions
  let agent: Agent

  beforeAll(async () => {
    db = await startTestDatabase()
    transitions = createTransitions({ db })
  })
  afterAll(() => db[Symbol.asyncDispose]())
  beforeEach(async () => {
    agent = await seedAgent(db, { state: { n: 0 } })
  })

  const stateOf = () =>
    db.prisma.agent.findUniqueOrThrow({ where: { id: agent.id }, select: { state: true, stateVersion: true } })

  async function claim(count: number): Promise<ClaimedRun[]> {
    await transitions.create(Array.from({ length: count }, () => makeNewTask(agent)))
    return (await step([], count)).claimed
  }

  function step(ends: RunEnd[], wanted = 0) {
    const leaseTokens = Array.from({ length: wanted }, () => newId())
    const claims = wanted === 0 ? [] : [{ workspaceId: agent.workspaceId, leaseTokens, again: false }]
    return transitions.step({ ends, claims, processId, leaseMs })
  }

  test('replaces the state, and the run that is claimed in the same step has it', async () => {
    const [run] = await claim(1)
    await transitions.create([makeNewTask(agent)])
    if (run === undefined) throw new Error('nothing was claimed')
    expect([run.agent.state, run.agent.stateVersion]).toEqual([{ n: 0 }, 1])

    const { claimed, transitions: told } = await step([endOf(run, { n: 1 })], 1)

    expect(claimed.map((next) => [next.agent.state, next.agent.stateVersion])).toEqual([[{ n: 1 }, 2]])
    expect(told.map(({ event }) => [event.type, event.reason])).toEqual([
      ['SUCCEEDED', null],
      ['STARTED', null],
    ])
    expect(await stateOf()).toEqual({ state: { n: 1 }, stateVersion: 2 })
  })

  test.each([
    ['in one step', true],
    ['in steps at once', false],
  ])(
    'lets one of several runs write that were given the same version, and the others say so: %s',
    async (_how, one) => {
      const runs = await claim(4)
      const ends = runs.map((run, index) => endOf(run, { n: index + 1 }))

      await Promise.all(one ? [step(ends)] : ends.map((end) => step([end])))

      const tasks = await db.prisma.task.findMany({ where: { agentId: agent.id } })
      const refusal = "The agent's state was not written: the run was given version 1, and it is at version 2 by now."
      expect(tasks.map(({ status }) => status)).toEqual(tasks.map(() => 'SUCCEEDED'))
      expect(tasks.filter(({ reason }) => reason === refusal)).toHaveLength(3)
      const writer = runs.findIndex(({ task }) => tasks.some(({ id, reason }) => id === task.id && reason === null))
      expect(await stateOf()).toEqual({ state: { n: writer + 1 }, stateVersion: 2 })
      const events = await db.prisma.taskEvent.findMany({ where: { type: 'SUCCEEDED', task: { agentId: agent.id } } })
      expect(events.filter(({ reason }) => reason === refusal)).toHaveLength(3)
    },
  )

  test('is refused when somebody has updated the agent meanwhile', async () => {
    const [run] = await claim(1)
    if (run === undefined) throw new Error('nothing was claimed')
    await db.prisma.agent.update({ where: { id: agent.id }, data: { state: { mine: true }, stateVersion: 7 } })

    const { transitions: told } = await step([endOf(run, { n: 1 })])

    expect(told[0]?.task).toMatchObject({ status: 'SUCCEEDED', reason: expect.stringContaining('at version 7 by now') })
    expect(await stateOf()).toEqual({ state: { mine: true }, stateVersion: 7 })
  })

  test('is no write of a run that has lost its lease', async () => {
    const [run] = await claim(1)
    if (run === undefined) throw new Error('nothing was claimed')
    await db.prisma.task.update({ where: { id: run.task.id }, data: { leaseExpiresAt: new Date(0) } })

    const { endedTaskIds } = await step([endOf(run, { n: 1 })])

    expect(endedTaskIds.size).toBe(0)
    expect(await stateOf()).toEqual({ state: { n: 0 }, stateVersion: 1 })
  })

  function endOf({ task, leaseToken }: ClaimedRun, state: Record<string, unknown>): RunEnd {
    const nothing = { retryDelayMs: null, error: null, output: null, outputJson: null, model: null, calls: [] }
    const lease = { taskId: task.id, leaseToken }
    const agentState = { state, version: 1 }
    return { ...nothing, ...lease, outcome: 'SUCCEEDED', reason: null, timeToFirstTokenMs: null, agentState }
  }
})

describe('by the answers of an agent', () => {
  let models: ModelServer
  let app: TestApp
  let user: TestUser

  beforeAll(async () => {
    models = await startModelServer()
    const provider = { OPENAI_API_KEY: 'none', OPENAI_BASE_URL: models.baseUrl, AI_DEFAULT_MODELS: 'openai/test-model' }
    app = await startTestApp({ env: provider })
    user = await app.signUp()
  })
  afterAll(async () => {
    await app[Symbol.asyncDispose]()
    await models[Symbol.asyncDispose]()
  })

  const memorySchema = {
    type: 'object',
    properties: { said: { type: 'string' }, agentState: {} },
    required: ['said'],
  }

  async function createAgent(input: Record<string, unknown>): Promise<string> {
    const { createAgent: made } = await app.data<{ createAgent: { agent: { id: string } } }>(
      'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
      { input: { name: 'Agent', instructions: 'Remember.', ...input } },
      { token: user.token },
    )
    return made.agent.id
  }

  type Ended = {
    task: { status: string; statusReason: string | null; agent: { state: unknown; stateVersion: number } }
    prompt: unknown
  }

  async function runTask(agentId: string, reply: unknown): Promise<Ended> {
    models.reply(answer(typeof reply === 'string' ? reply : JSON.stringify(reply)))
    const { createTask } = await app.data<{ createTask: { task: { id: string } } }>(
      'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
      { input: { agentId, prompt: 'Go on.', input: { x: 1 } } },
      { token: user.token },
    )
    const { id } = createTask.task
    await createReader(id).read(app, user.token)
    const { task } = await app.data<{ task: Ended['task'] }>(
      'query ($id: ID!) { task(id: $id) { status statusReason agent { state stateVersion } } }',
      { id },
      { token: user.token },
    )
    const messages = models.requests.at(-1)?.body['messages']
    return { task, prompt: Array.isArray(messages) ? messages.at(-1)?.content : null }
  }

  test('a state goes from one run to the next', async () => {
    const agentId = await createAgent({ outputSchema: memorySchema })

    const first = await runTask(agentId, { said: 'one', agentState: { seen: ['a'] } })
    const second = await runTask(agentId, { said: 'two' })
    const third = await runTask(agentId, { said: 'three', agentState: null })

    const how = 'To change it, answer with the whole new state as "agentState".\n\n'
    const task = 'Go on.\n\nInput (JSON):\n{\n  "x": 1\n}'
    const kept = { status: 'SUCCEEDED', statusReason: null, agent: { state: { seen: ['a'] }, stateVersion: 2 } }
    const later = { task: kept, prompt: `State (JSON):\n{\n  "seen": [\n    "a"\n  ]\n}\n${how}${task}` }
    expect([first, second, third]).toEqual([{ task: kept, prompt: `State (JSON):\n{}\n${how}${task}` }, later, later])
  })

  test.each([
    ['no object', [1, 2], '"agentState" is not a JSON object'],
    ['too large', { text: 'x'.repeat(65_536) }, 'it has 65547 bytes, and may have 65536'],
  ])('a state that is %s is not written, and the task says why', async (_what, agentState, why) => {
    const agentId = await createAgent({ outputSchema: memorySchema, state: { kept: true } })

    const { task } = await runTask(agentId, { said: 'one', agentState })

    expect(task).toEqual({
      status: 'SUCCEEDED',
      statusReason: `The agent's state was not written: ${why}.`,
      agent: { state: { kept: true }, stateVersion: 1 },
    })
  })

  test('an agent whose schema does not declare it, or that has none, is read only', async () => {
    const state = { place: 'here' }
    const schema = { type: 'object', properties: { said: { type: 'string' } } }
    const replies = [{ outputSchema: schema }, {}].map(async (input) => createAgent({ ...input, state }))

    for (const agentId of await Promise.all(replies)) {
      const { task, prompt } = await runTask(agentId, { said: 'one', agentState: { place: 'there' } })
      expect(task).toEqual({ status: 'SUCCEEDED', statusReason: null, agent: { state, stateVersion: 1 } })
      expect(prompt).toBe('State (JSON):\n{\n  "place": "here"\n}\n\nGo on.\n\nInput (JSON):\n{\n  "x": 1\n}')
    }
  })
})
