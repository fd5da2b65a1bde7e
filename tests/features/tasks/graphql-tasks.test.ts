import { encodeGlobalID } from '@pothos/plugin-relay'
import { afterAll, expect, test } from 'vitest'
import { feedCursor } from '../../../src/features/tasks/streams/task-cursor.ts'
import { graphql } from '../../support/gql/gql.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { insertAgent, insertAttempt, insertTask, later, start } from '../workspaces/rows.ts'
import { fillWorkspace, rowId } from './graphql-fixture.ts'

const statements: string[] = []
const app = await startTestApp({ overrides: { onStatement: (sql) => void statements.push(sql) } })
afterAll(() => app[Symbol.asyncDispose]())
const { db } = app.services

const wholeTask = graphql(`
  query WholeTask($id: ID!) {
    task(id: $id) {
      id
      workspace {
        id
        personal
      }
      agent {
        id
      }
      createdBy {
        id
      }
      name
      prompt
      input
      priority
      status
      statusReason
      version
      runAt
      timeoutMs
      maxAttempts
      attempt
      attemptsUsed
      output
      outputJson
      error {
        code
        message
        retryable
      }
      idempotencyKey
      createdAt
      updatedAt
      queuedAt
      startedAt
      finishedAt
      usage {
        inputTokens
        cachedInputTokens
        outputTokens
        reasoningTokens
        totalTokens
        estimated
        costUsd
        savedUsd
      }
      attempts {
        number
        status
        model
        agentVersion
        startedAt
        finishedAt
        timeToFirstTokenMs
        error {
          code
          message
          retryable
        }
        usage {
          totalTokens
          costUsd
        }
        modelAttempts {
          model
          outcome
          status
          message
          durationMs
          requestId
        }
      }
      events(first: 10) {
        pageInfo {
          hasNextPage
        }
        edges {
          node {
            type
            version
            status
            attempt
            reason
            task {
              id
            }
          }
        }
      }
    }
  }
`)

const createTask = graphql(`
  mutation CreateTaskInFull($input: CreateTaskInput!) {
    createTask(input: $input) {
      task {
        id
        status
        statusReason
        prompt
        agent {
          name
        }
      }
    }
  }
`)

const cancelTask = graphql(`
  mutation CancelTask($input: CancelTaskInput!) {
    cancelTask(input: $input) {
      task {
        status
        statusReason
        events {
          edges {
            cursor
            node {
              type
            }
          }
        }
      }
    }
  }
`)

async function until(token: string, id: string, status: string) {
  for (const deadlineMs = performance.now() + 10_000; performance.now() < deadlineMs;) {
    const { task } = await app.data(wholeTask, { id }, { token })
    if (task?.status === status) return task
  }
  throw new Error(`the task was not ${status} within 10 s`)
}

test('a task from its submission to its end', async () => {
  const user = await app.signUp()
  const { agent, workspace } = await fillWorkspace(app, user)
  const input = { agentId: agent, prompt: 'Say hello.', name: 'Greeting', input: { to: 'all' }, priority: 5 }
  const { token } = user
  const { createTask: made } = await app.data(createTask, { input: { ...input, idempotencyKey: 'k' } }, { token })
  expect(made.task).toMatchObject({ prompt: 'Say hello.', agent: { name: 'Secret agent' } })

  const task = await until(token, made.task.id, 'SUCCEEDED')
  const usage = {
    inputTokens: expect.any(Number),
    cachedInputTokens: 0,
    outputTokens: expect.any(Number),
    reasoningTokens: 0,
    totalTokens: task.usage.inputTokens + task.usage.outputTokens,
    estimated: expect.any(Boolean),
    costUsd: 0,
    savedUsd: 0,
  }
  const event = (version: number, type: string, status: string) => ({
    node: { type, version, status, attempt: version > 1 ? 1 : 0, reason: null, task: { id: made.task.id } },
  })
  expect(task).toEqual({
    id: made.task.id,
    workspace: { id: workspace, personal: true },
    agent: { id: agent },
    createdBy: { id: user.id },
    name: 'Greeting',
    prompt: 'Say hello.',
    input: { to: 'all' },
    priority: 5,
    idempotencyKey: 'k',
    status: 'SUCCEEDED',
    statusReason: null,
    version: 3,
    runAt: null,
    timeoutMs: 600_000,
    maxAttempts: 3,
    attempt: 1,
    attemptsUsed: 1,
    output: expect.stringContaining('demo'),
    outputJson: null,
    error: null,
    createdAt: expect.any(String),
    updatedAt: expect.any(String),
    queuedAt: expect.any(String),
    startedAt: expect.any(String),
    finishedAt: expect.any(String),
    usage,
    attempts: [
      {
        number: 1,
        status: 'SUCCEEDED',
        model: 'demo/demo',
        agentVersion: 1,
        error: null,
        startedAt: expect.any(String),
        finishedAt: expect.any(String),
        timeToFirstTokenMs: expect.any(Number),
        usage: { totalTokens: usage.totalTokens, costUsd: 0 },
        modelAttempts: [
          {
            model: 'demo/demo',
            outcome: 'succeeded',
            status: 200,
            message: null,
            requestId: expect.anything(),
            durationMs: expect.any(Number),
          },
        ],
      },
    ],
    events: {
      pageInfo: { hasNextPage: false },
      edges: [event(1, 'CREATED', 'QUEUED'), event(2, 'STARTED', 'RUNNING'), event(3, 'SUCCEEDED', 'SUCCEEDED')],
    },
  })
})

test('the same key gives the same task, and another input a conflict', async () => {
  const user = await app.signUp()
  const { token } = user
  const { agent } = await fillWorkspace(app, user)
  const input = { agentId: agent, prompt: 'Once.', idempotencyKey: 'once', runAt: '2100-01-01T00:00:00.000Z' }
  const first = await app.data(createTask, { input }, { token })
  expect(await app.data(createTask, { input }, { token })).toEqual(first)
  const { errors } = await app.graphql(createTask, { input: { ...input, prompt: 'Twice.' } }, { token })
  expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['CONFLICT'])
})

test('a cancelled task says why, in its events too', async () => {
  const user = await app.signUp()
  const { token } = user
  const { task } = await fillWorkspace(app, user)
  const input = { id: task, reason: 'Not needed.' }
  const { cancelTask: answer } = await app.data(cancelTask, { input }, { token })
  expect(answer.task).toMatchObject({ status: 'CANCELLED', statusReason: 'Not needed.' })
  const [first, second] = answer.task.events.edges
  expect([first?.node.type, second?.node.type]).toEqual(['CREATED', 'CANCELLED'])
  const next = graphql(`
    query EventsAfter($id: ID!, $after: String) {
      task(id: $id) {
        events(first: 1, after: $after) {
          pageInfo {
            hasNextPage
            hasPreviousPage
          }
          edges {
            node {
              type
              task {
                status
              }
            }
          }
        }
      }
    }
  `)
  const { task: rest } = await app.data(next, { id: task, after: first?.cursor ?? null }, { token })
  expect(rest?.events).toEqual({
    pageInfo: { hasNextPage: false, hasPreviousPage: true },
    edges: [{ node: { type: 'CANCELLED', task: { status: 'CANCELLED' } } }],
  })
})

test('archiving an agent cancels what waits for it, and it takes no more', async () => {
  const user = await app.signUp()
  const { token } = user
  const { agent, task } = await fillWorkspace(app, user)
  const archive = graphql(`
    mutation ArchiveAgentWithTasks($input: AgentInput!) {
      archiveAgent(input: $input) {
        agent {
          status
          tasks {
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
  const { archiveAgent } = await app.data(archive, { input: { id: agent } }, { token })
  const cancelled = { id: task, status: 'CANCELLED', statusReason: expect.any(String) }
  expect(archiveAgent.agent).toEqual({ status: 'ARCHIVED', tasks: { edges: [{ node: cancelled }] } })
  const { errors } = await app.graphql(createTask, { input: { agentId: agent, prompt: 'More.' } }, { token })
  expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['CONFLICT'])
})

test('a paused agent’s tasks wait and say so, and run when it is resumed', async () => {
  const user = await app.signUp()
  const { token } = user
  const { agent } = await fillWorkspace(app, user)
  await app.data(
    `mutation ($input: AgentInput!) { pauseAgent(input: $input) { agent { id } } }`,
    { input: { id: agent } },
    { token },
  )
  const { createTask: made } = await app.data(createTask, { input: { agentId: agent, prompt: 'Wait.' } }, { token })
  expect(made.task).toMatchObject({ status: 'QUEUED', statusReason: 'Its agent is paused.' })
  await app.data(
    `mutation ($input: AgentInput!) { resumeAgent(input: $input) { agent { id } } }`,
    { input: { id: agent } },
    { token },
  )
  await until(token, made.task.id, 'SUCCEEDED')
})

const dashboard = graphql(`
  query DashboardWithCursor($id: ID!, $filter: TaskFilter) {
    before: tasks(workspaceId: $id, filter: $filter, first: 1) {
      edges {
        node {
          name
        }
      }
    }
    workspace(id: $id) {
      tasks(filter: $filter, last: 1) {
        edges {
          node {
            name
          }
        }
      }
      agents {
        edges {
          node {
            stats {
              succeeded
            }
          }
        }
      }
      ...Cursor
    }
  }

  fragment Cursor on Workspace {
    feedCursor
  }
`)

test('the feed’s cursor is read before all lists of the document', async () => {
  const user: TestUser = await app.signUp()
  const { token } = user
  const { workspace } = await fillWorkspace(app, user)
  const workspaceId = rowId(workspace)
  const agentId = await insertAgent(db, workspaceId)
  for (const [n, status] of ['SUCCEEDED', 'FAILED', 'SUCCEEDED'].entries()) {
    await insertTask(
      db,
      { workspaceId, agentId },
      { name: `t${n}`, createdAt: later(n), status: status === 'FAILED' ? 'FAILED' : 'SUCCEEDED' },
    )
  }
  statements.length = 0
  const answer = await app.data(dashboard, { id: workspace, filter: { status: ['SUCCEEDED'] } }, { token })
  expect(answer.before.edges.map(({ node }) => node.name)).toEqual(['t2'])
  expect(answer.workspace?.tasks.edges.map(({ node }) => node.name)).toEqual(['t0'])
  expect(answer.workspace?.feedCursor).toBe(feedCursor(workspaceId, 1))
  // The reconciler looks for lost hints meanwhile.
  const asked = statements.filter((sql) => !sql.includes('claim_order'))
  const place = (part: string): number => asked.findIndex((sql) => sql.includes(part))
  const head = place('feed_seq AS seq')
  expect(head).toBeGreaterThanOrEqual(0)
  for (const list of ['FROM task t', 'FROM agent a', 'FILTER (WHERE status']) expect(place(list)).toBeGreaterThan(head)
})

test('lists without the cursor read no feed', async () => {
  const user = await app.signUp()
  await fillWorkspace(app, user)
  statements.length = 0
  await app.data('{ tasks { edges { node { id } } } agents { edges { node { id } } } }', {}, { token: user.token })
  expect(statements.filter((sql) => sql.includes('feed_seq AS seq'))).toEqual([])
})

test('node and nodes find what is there, in their order, in one statement for each type', async () => {
  const user = await app.signUp()
  const { workspace, member, agent, task } = await fillWorkspace(app, user)
  const workspaceId = rowId(workspace)
  const owner = { workspaceId, agentId: rowId(agent) }
  const taskId = await insertTask(db, owner, { prompt: 'Another.', createdAt: start })
  await insertAttempt(db, { ...owner, taskId, number: 1 })
  const other = encodeGlobalID('Task', taskId)
  const document = `query ($ids: [ID!]!) { nodes(ids: $ids) {
    __typename id ... on Task { prompt usage { totalTokens } } ... on WorkspaceMember { role workspace { name } }
  } }`
  const missing = encodeGlobalID('Task', workspaceId)
  const ids = [other, workspace, missing, task, member, agent, other]
  const { nodes } = await app.data(document, { ids }, { token: user.token })
  const found = { __typename: 'Task', id: other, prompt: 'Another.', usage: { totalTokens: 150 } }
  expect(nodes).toEqual([
    found,
    { __typename: 'Workspace', id: workspace },
    null,
    { __typename: 'Task', id: task, prompt: 'A secret.', usage: { totalTokens: 0 } },
    { __typename: 'WorkspaceMember', id: member, role: 'OWNER', workspace: { name: 'Personal' } },
    { __typename: 'Agent', id: agent },
    found,
  ])
})
