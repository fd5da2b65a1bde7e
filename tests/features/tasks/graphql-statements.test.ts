import { expect, test } from 'vitest'
import { graphql } from '../../support/gql/gql.ts'
import { startTestApp, type TestApp, type TestUser } from '../../support/test-app.ts'
import { insertAgent, insertAttempt, insertTask, later } from '../workspaces/rows.ts'

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

test('a nested document takes as many statements for 20 agents with 100 tasks as for one with one', async () => {
  const statements: string[] = []
  await using app = await startTestApp({
    env: { LIMIT_COMPLEXITY: '20000' },
    overrides: { onStatement: (sql) => void statements.push(sql) },
  })

  async function count(agents: number, tasks: number): Promise<number> {
    const user = await app.signUp()
    await fill(app, user, { agents, tasks })
    const counts: number[] = []
    // The worker and the keys ask on their own now and then: the fewest are those of the document alone.
    for (let run = 0; run < 4; run += 1) {
      statements.length = 0
      const { workspace } = await app.data(dashboard, {}, { token: user.token })
      counts.push(statements.length)
      const found = workspace?.agents.edges.flatMap(({ node }) => node.tasks.edges.map((edge) => edge.node)) ?? []
      expect(found).toHaveLength(agents * tasks)
      expect(found.map(({ usage }) => usage.totalTokens)).toEqual(found.map(() => 150))
      expect(found.map(({ attempts }) => attempts[0]?.usage.totalTokens)).toEqual(found.map(() => 150))
    }
    return Math.min(...counts)
  }

  const one = await count(1, 1)
  expect(await count(20, 5)).toBe(one)
  expect(one).toBeLessThanOrEqual(20)
})

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
  for (let a = 0; a < agents; a += 1) {
    const agentId = await insertAgent(db, workspaceId, { name: `Agent ${a}` })
    for (let t = 0; t < tasks; t += 1) {
      const taskId = await insertTask(db, { workspaceId, agentId }, { createdAt: later(t) })
      await insertAttempt(db, { workspaceId, agentId, taskId, number: 1 })
    }
  }
}

const rowId = (globalId: string): string => Buffer.from(globalId, 'base64').toString().split(':')[1] ?? ''
