import { expect, test } from 'vitest'
import { graphql } from '../../support/gql/gql.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import { insertAgent, insertAttempt, insertTask, later, type TaskOwner } from '../workspaces/rows.ts'

const dashboard = graphql(`
  query DashboardForStatementCount($workspaceId: ID) {
    workspace(id: $workspaceId) {
      id
      feedCursor
      stats {
        queued
        running
        oldestQueuedAt
        usageToday {
          totalTokens
          costUsd
        }
      }
      members {
        role
        user {
          email
        }
      }
      agents(first: 20) {
        edges {
          node {
            id
            name
            stats {
              succeeded
              averageDurationMs
              usage {
                costUsd
              }
            }
            tasks(first: 5, filter: { status: [SUCCEEDED, FAILED] }) {
              pageInfo {
                hasNextPage
              }
              edges {
                node {
                  id
                  prompt
                  input
                  output
                  statusReason
                  usage {
                    totalTokens
                    costUsd
                  }
                  dependencies {
                    id
                    statusReason
                  }
                  dependents(first: 2) {
                    edges {
                      node {
                        id
                      }
                    }
                  }
                  createdBy {
                    email
                  }
                  agent {
                    name
                  }
                  workspace {
                    name
                  }
                  attempts {
                    number
                    usage {
                      totalTokens
                    }
                    modelAttempts {
                      model
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
  }
`)

/** What the reconciler, the worker and the schedules ask, whoever is there. */
const ownStatement = /task_reconcile|task_tell_|task_step|claim_order|min\(run_at\)|\bprocess\b|schedule WHERE|key_row/

test(
  'a nested document takes as many statements for 20 agents with 100 tasks as for one with one',
  { timeout: 120_000 },
  async () => {
    const statements: string[] = []
    await using app = await startTestApp({
      env: { LIMIT_COMPLEXITY: '100000', LIMIT_DEPTH: '12' },
      overrides: { onStatement: (sql) => void statements.push(sql) },
    })

    async function count(agents: number, tasks: number): Promise<number> {
      const user = await app.signUp()
      await fill(app, user, { agents, tasks })
      const counts: number[] = []
      // The server asks on its own now and then; of what is not known to be that, the fewest are those of the document alone.
      for (let run = 0; run < 6; run += 1) {
        statements.length = 0
        const { workspace } = await app.data(dashboard, {}, { token: user.token })
        counts.push(statements.filter((sql) => !ownStatement.test(sql)).length)
        const found = workspace?.agents.edges.flatMap(({ node }) => node.tasks.edges.map((edge) => edge.node)) ?? []
        expect(found).toHaveLength(agents * tasks)
        expect(found.map(({ usage }) => usage.totalTokens)).toEqual(found.map(() => 150))
        expect(found.map(({ dependencies, dependents }) => [dependencies.length, dependents.edges.length])).toEqual(
          found.map(() => [1, 1]),
        )
        expect(found.map(({ attempts }) => attempts[0]?.usage.totalTokens)).toEqual(found.map(() => 150))
      }
      return Math.min(...counts)
    }

    const one = await count(1, 1)
    expect(await count(20, 5)).toBe(one)
    expect(one).toBeLessThanOrEqual(22)
  },
)

async function fill(app: TestApp, { token }: TestUser, { agents, tasks }: { agents: number; tasks: number }) {
  const { workspace } = await app.data(
    graphql(`
      query PersonalWorkspaceForCount {
        workspace {
          id
        }
      }
    `),
    {},
    { token },
  )
  const workspaceId = rowId(workspace?.id ?? '')
  const { db } = app.services
  const taskIds: string[] = []
  let lastAgentId = ''
  for (let a = 0; a < agents; a += 1) {
    const agentId = await insertAgent(db, workspaceId, { name: `Agent ${a}` })
    lastAgentId = agentId
    for (let t = 0; t < tasks; t += 1) {
      const taskId = await insertTask(db, { workspaceId, agentId }, { createdAt: later(t), dependencyCount: 1 })
      taskIds.push(taskId)
      await insertAttempt(db, { workspaceId, agentId, taskId, number: 1 })
    }
  }
  await link(db, { workspaceId, agentId: lastAgentId }, taskIds)
}

/** Gives each task a dependency and a dependent. They are cancelled, and so not in the lists themselves. */
async function link(db: Database, owner: TaskOwner, taskIds: readonly string[]): Promise<void> {
  const first = await insertTask(db, owner, { status: 'CANCELLED' })
  const last = await insertTask(db, owner, { status: 'CANCELLED', dependencyCount: taskIds.length })
  const links = taskIds.flatMap((taskId, position) => [
    { taskId, dependsOnId: first, position: 0 },
    { taskId: last, dependsOnId: taskId, position },
  ])
  await db.prisma.taskDependency.createMany({ data: links })
}

const rowId = (globalId: string): string => Buffer.from(globalId, 'base64').toString().split(':')[1] ?? ''
