import { encodeGlobalID } from '@pothos/plugin-relay'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../../src/lib/ids.ts'
import { graphql } from '../../support/gql/gql.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { until } from '../../support/until.ts'
import { fillWorkspace, rowId, type Ids } from './graphql-fixture.ts'

const app = await startTestApp({ overrides: { demoTokenDelayMs: 0 } })
afterAll(() => app[Symbol.asyncDispose]())

let user: TestUser
let ids: Ids

beforeAll(async () => {
  user = await app.signUp()
  ids = await fillWorkspace(app, user)
})

const createTask = graphql(`
  mutation CreateDependentTask($input: CreateTaskInput!) {
    createTask(input: $input) {
      task {
        id
        status
        onDependencyFailure
        dependencies {
          id
        }
      }
    }
  }
`)

const createTaskGraph = graphql(`
  mutation CreateGraph($input: CreateTaskGraphInput!) {
    createTaskGraph(input: $input) {
      tasks {
        id
        name
        dependencies {
          name
        }
        dependents(first: 10) {
          edges {
            node {
              name
            }
          }
          pageInfo {
            hasNextPage
          }
        }
      }
    }
  }
`)

const readTask = graphql(`
  query ReadDependentTask($id: ID!) {
    task(id: $id) {
      status
      statusReason
      output
    }
  }
`)

const cancelTask = graphql(`
  mutation CancelForDependents($input: CancelTaskInput!) {
    cancelTask(input: $input) {
      task {
        dependents {
          edges {
            node {
              id
              status
              statusReason
            }
          }
        }
      }
    }
  }
`)

const as = (): { token: string } => ({ token: user.token })
const inAnHour = new Date(Date.now() + 3_600_000).toISOString()

type Node = { key: string; name?: string; dependsOn?: string[]; runAt?: string; agentId?: string }
const graphOf = (...nodes: Node[]) => ({
  tasks: nodes.map((node) => ({ agentId: ids.agent, prompt: 'Go.', name: node.key, ...node })),
})

describe('createTask with dependsOn', () => {
  test('waits for the others, in the order given', async () => {
    const others = [await submit({ runAt: inAnHour }), await submit({ runAt: inAnHour })].toReversed()
    const input = { agentId: ids.agent, prompt: 'Go.', dependsOn: others, onDependencyFailure: 'CANCEL' as const }

    const { task } = (await app.data(createTask, { input }, as())).createTask

    expect(task).toMatchObject({
      status: 'BLOCKED',
      onDependencyFailure: 'CANCEL',
      dependencies: others.map((id) => ({ id })),
    })
  })

  test('names a dependency that does not exist or is somebody else’s', async () => {
    const known = await submit({ runAt: inAnHour })
    const stranger = await app.signUp()
    const { task: foreign } = await fillWorkspace(app, stranger)
    for (const unknown of [encodeGlobalID('Task', newId()), foreign]) {
      const input = { agentId: ids.agent, prompt: 'Go.', dependsOn: [known, unknown] }
      const { errors } = await app.graphql(createTask, { input }, as())
      expect(errors?.map(({ message, extensions }) => [extensions.code, extensions.details, message])).toEqual([
        ['NOT_FOUND', { field: 'input.dependsOn.1' }, 'There is no such task in the workspace of the agent.'],
      ])
    }
  })

  test('takes at most 100', async () => {
    const dependsOn = Array.from({ length: 101 }, () => encodeGlobalID('Task', newId()))
    const { errors } = await app.graphql(createTask, { input: { agentId: ids.agent, prompt: 'Go.', dependsOn } }, as())
    expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['field']])).toEqual([
      ['BAD_USER_INPUT', 'input.dependsOn'],
    ])
  })

  test('is skipped with a reason when the other is cancelled', async () => {
    const first = await submit({ runAt: inAnHour, name: 'Fetch' })
    const dependent = await submit({ dependsOn: [first] })

    const { task } = (await app.data(cancelTask, { input: { id: first } }, as())).cancelTask

    expect(task.dependents.edges).toEqual([
      {
        node: {
          id: dependent,
          status: 'SKIPPED',
          statusReason: 'A task that it depends on, “Fetch”, was cancelled.',
        },
      },
    ])
  })
})

describe('createTaskGraph', () => {
  test('runs a diamond to its end', async () => {
    const input = graphOf(
      { key: 'report', dependsOn: ['left', 'right'] },
      { key: 'left', dependsOn: ['fetch'] },
      { key: 'right', dependsOn: ['fetch'] },
      { key: 'fetch' },
    )

    const { tasks } = (await app.data(createTaskGraph, { input }, as())).createTaskGraph

    expect(tasks.map(({ name, dependencies }) => [name, dependencies.map((other) => other.name)])).toEqual([
      ['report', ['left', 'right']],
      ['left', ['fetch']],
      ['right', ['fetch']],
      ['fetch', []],
    ])
    expect(tasks[3]?.dependents.edges.map(({ node }) => node.name).toSorted()).toEqual(['left', 'right'])
    const id = tasks[0]?.id ?? ''
    const ended = await until(
      'the last task of the diamond to succeed',
      async () => (await app.data(readTask, { id }, as())).task,
      (task) => task?.status === 'SUCCEEDED',
      60_000,
    )
    expect(ended?.output).not.toBe('')
  })

  test('takes 1 000 tasks at once, and pages through the dependents of one', { timeout: 120_000 }, async () => {
    const nodes = Array.from({ length: 999 }, (_, n): Node => ({ key: `t${n}`, dependsOn: ['root'] }))
    const { tasks } = (
      await app.data(createTaskGraph, { input: graphOf({ key: 'root', runAt: inAnHour }, ...nodes) }, as())
    ).createTaskGraph

    expect(tasks).toHaveLength(1_000)
    expect(tasks[0]?.dependents).toMatchObject({ pageInfo: { hasNextPage: true } })
    expect(tasks[0]?.dependents.edges.map(({ node }) => node.name)).toEqual(
      Array.from({ length: 10 }, (_, n) => `t${998 - n}`),
    )
  })

  test('refuses a cycle and tells its path', async () => {
    const input = graphOf(
      { key: 'a', dependsOn: ['c'] },
      { key: 'b', dependsOn: ['a'] },
      { key: 'c', dependsOn: ['b'] },
    )
    const before = await app.services.db.prisma.task.count()

    const { errors } = await app.graphql(createTaskGraph, { input }, as())

    expect(errors?.map(({ extensions: { code, details } }) => ({ code, details }))).toEqual([
      { code: 'BAD_USER_INPUT', details: { field: 'input.tasks', cycle: ['a', 'c', 'b', 'a'] } },
    ])
    expect(await app.services.db.prisma.task.count()).toBe(before)
  })

  test.each([
    ['input.tasks', 'no task', () => graphOf()],
    ['input.tasks', 'more than 1 000', () => graphOf(...Array.from({ length: 1_001 }, (_, n) => ({ key: `t${n}` })))],
    ['input.tasks.1.key', 'an empty key', () => graphOf({ key: 'a' }, { key: '', name: 'b' })],
    ['input.tasks.0.prompt', 'an empty prompt', () => ({ tasks: [{ key: 'a', agentId: ids.agent, prompt: '' }] })],
    ['input.tasks.0.agentId', 'an id of something else', () => graphOf({ key: 'a', agentId: ids.task })],
    ['input.tasks.1.dependsOn.0', 'an unknown key', () => graphOf({ key: 'a' }, { key: 'b', dependsOn: ['c'] })],
  ])('refuses, naming %s, %s', async (field, _what, input) => {
    const { errors } = await app.graphql(createTaskGraph, { input: input() }, as())
    expect(errors?.map(({ extensions: { code, details } }) => [code, details['field']])).toEqual([
      ['BAD_USER_INPUT', field],
    ])
  })

  test('refuses agents of two workspaces, and one that does not exist', async () => {
    const { prisma } = app.services.db
    const workspaceId = newId()
    const members = { create: { id: newId(), userId: rowId(user.id), role: 'OWNER' as const } }
    await prisma.workspace.create({ data: { id: workspaceId, name: 'Second', counter: { create: {} }, members } })
    const createAgent = `mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }`
    const { createAgent: other } = await app.data<{ createAgent: { agent: { id: string } } }>(
      createAgent,
      { input: { workspaceId: encodeGlobalID('Workspace', workspaceId), name: 'Other', instructions: '-' } },
      as(),
    )
    const agents = [
      ['BAD_USER_INPUT', other.agent.id],
      ['NOT_FOUND', encodeGlobalID('Agent', newId())],
    ] as const
    for (const [code, agentId] of agents) {
      const { errors } = await app.graphql(
        createTaskGraph,
        { input: graphOf({ key: 'a' }, { key: 'b', agentId }) },
        as(),
      )
      expect(errors?.map(({ extensions }) => [extensions.code, extensions.details['field']])).toEqual([
        [code, 'input.tasks.1.agentId'],
      ])
    }
  })
})

async function submit(rest: Record<string, unknown>): Promise<string> {
  const { createTask: made } = await app.data(
    createTask,
    { input: { agentId: ids.agent, prompt: 'Go.', ...rest } },
    as(),
  )
  return made.task.id
}
