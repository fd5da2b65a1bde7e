import { afterAll, expect, test } from 'vitest'
import { graphql } from '../../support/gql/gql.ts'
import { startTestApp } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'
import { insertAgent, insertTask, insertUsage, later } from '../workspaces/rows.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())
const { db } = app.services

const create = graphql(`
  mutation CreateWholeAgent($input: CreateAgentInput!) {
    createAgent(input: $input) {
      agent {
        id
        workspace {
          name
        }
        name
        description
        instructions
        models
        temperature
        maxOutputTokens
        outputSchema
        concurrency
        retryPolicy {
          maxAttempts
          initialDelayMs
          maxDelayMs
        }
        timeoutMs
        crashPolicy
        status
        state
        stateVersion
        version
        createdAt
        updatedAt
        stats {
          queued
          running
          succeeded
          failed
          averageDurationMs
          lastActiveAt
          usage {
            totalTokens
            costUsd
          }
        }
      }
    }
  }
`)

const update = graphql(`
  mutation UpdateAgent($input: UpdateAgentInput!) {
    updateAgent(input: $input) {
      agent {
        name
        description
        temperature
        outputSchema
        state
        version
        stateVersion
      }
    }
  }
`)

const definition = { name: 'Helper', instructions: 'Help.' }

test('an agent as it was defined, with what its tasks are doing', async () => {
  const { token } = await app.signUp()
  const given = {
    ...definition,
    description: 'For tests.',
    models: ['demo/demo'],
    temperature: 0.5,
    maxOutputTokens: 100,
    outputSchema: { type: 'object' },
    concurrency: 2,
    retryPolicy: { maxAttempts: 4, initialDelayMs: 5, maxDelayMs: 6 },
    timeoutMs: 5_000,
    crashPolicy: 'FAIL' as const,
    state: { seen: ['a'] },
  }
  const { createAgent } = await app.data(create, { input: given }, { token })
  expect(createAgent.agent).toEqual({
    ...given,
    id: expect.any(String),
    workspace: { name: 'Personal' },
    status: 'ACTIVE',
    stateVersion: 1,
    version: 1,
    createdAt: expect.any(String),
    updatedAt: expect.any(String),
    stats: {
      queued: 0,
      running: 0,
      succeeded: 0,
      failed: 0,
      averageDurationMs: null,
      lastActiveAt: null,
      usage: { totalTokens: 0, costUsd: 0 },
    },
  })
  const { agent } = await app.data(
    graphql(`
      query AgentById($id: ID!) {
        agent(id: $id) {
          id
          name
        }
      }
    `),
    { id: createAgent.agent.id },
    { token },
  )
  expect(agent).toEqual({ id: createAgent.agent.id, name: 'Helper' })
})

test('in an update null clears and what is absent stays', async () => {
  const { token } = await app.signUp()
  const filled = { ...definition, description: 'Old.', temperature: 1, outputSchema: {}, state: { n: 1 } }
  const { id } = (await app.data(create, { input: filled }, { token })).createAgent.agent
  const input = { id, expectedVersion: 1, description: null, outputSchema: null, state: { n: 2 } }
  expect((await app.data(update, { input }, { token })).updateAgent.agent).toEqual({
    name: 'Helper',
    description: null,
    temperature: 1,
    outputSchema: null,
    state: { n: 2 },
    version: 2,
    stateVersion: 2,
  })
  const { errors } = await app.graphql(update, { input }, { token })
  expect(errors).toMatchObject([{ extensions: { code: 'CONFLICT', details: { version: 2, expectedVersion: 1 } } }])
})

test('changes are recorded with who made them and from where', async () => {
  const { token, id: userId } = await app.signUp()
  const { id } = (await app.data(create, { input: definition }, { token })).createAgent.agent
  const headers = { 'x-request-id': 'request-of-a-test' }
  await app.data(update, { input: { id, name: 'New' } }, { token, headers })
  const events = await db.prisma.auditEvent.findMany({ where: { target: rowId(id) }, orderBy: { id: 'asc' } })
  expect(events).toMatchObject([
    { action: 'agent.created', actorId: rowId(userId), ip: '127.0.0.1' },
    { action: 'agent.updated', actorId: rowId(userId), ip: '127.0.0.1', requestId: 'request-of-a-test' },
  ])
})

test('lists give the newest first and go both ways; statistics are each agent’s own', async () => {
  const { token } = await app.signUp()
  const personal = graphql(`
    query PersonalWorkspaceOfAgents {
      workspace {
        id
      }
    }
  `)
  const { workspace } = await app.data(personal, {}, { token })
  const workspaceId = rowId(workspace?.id ?? '')
  for (let n = 0; n < 4; n += 1) {
    const agentId = await insertAgent(db, workspaceId, { name: `a${n}`, createdAt: later(Math.floor(n / 2)) })
    for (let t = 0; t < n; t += 1) await insertTask(db, { workspaceId, agentId })
    await insertUsage(db, { workspaceId, agentId, inputTokens: n })
  }
  const list = graphql(`
    query AgentPages($first: Int, $after: String, $last: Int, $before: String) {
      agents(first: $first, after: $after, last: $last, before: $before) {
        pageInfo {
          hasNextPage
          hasPreviousPage
          startCursor
          endCursor
        }
        edges {
          cursor
          node {
            name
            stats {
              succeeded
              usage {
                inputTokens
              }
            }
          }
        }
      }
    }
  `)
  const whole = (await app.data(list, {}, { token })).agents.edges
  expect(whole.map(({ node }) => node)).toEqual(
    [3, 2, 1, 0].map((n) => ({ name: `a${n}`, stats: { succeeded: n, usage: { inputTokens: n } } })),
  )
  const [, second, third] = whole.map(({ cursor }) => cursor)
  const names = (page: typeof whole): string[] => page.map(({ node }) => node.name)
  const next = (await app.data(list, { first: 1, after: second }, { token })).agents
  expect(names(next.edges)).toEqual(['a1'])
  expect(next.pageInfo).toEqual({
    hasNextPage: true,
    hasPreviousPage: true,
    startCursor: third,
    endCursor: third,
  })
  const back = (await app.data(list, { last: 2, before: third }, { token })).agents
  expect(names(back.edges)).toEqual(['a3', 'a2'])
  expect(back.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false })
  expect(names((await app.data(list, { last: 1 }, { token })).agents.edges)).toEqual(['a0'])
})
