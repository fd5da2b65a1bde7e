import { graphql } from '../../support/gql/gql.ts'
import type { TestApp, TestUser } from '../../support/test-app.ts'

/** Global ids of one of each that a workspace has. */
export type Ids = { workspace: string; member: string; agent: string; task: string; user: string }

const personal = graphql(`
  query PersonalWorkspaceWithMember {
    workspace {
      id
      members {
        id
        user {
          id
        }
      }
    }
  }
`)

const createAgent = graphql(`
  mutation CreateAgentForFixture($input: CreateAgentInput!) {
    createAgent(input: $input) {
      agent {
        id
      }
    }
  }
`)

const createTask = graphql(`
  mutation CreateTaskForFixture($input: CreateTaskInput!) {
    createTask(input: $input) {
      task {
        id
      }
    }
  }
`)

/** A user's personal workspace with an agent and a task that runs in an hour. */
export async function fillWorkspace(app: TestApp, { token }: TestUser): Promise<Ids> {
  const { workspace } = await app.data(personal, {}, { token })
  const [member] = workspace?.members ?? []
  if (workspace == null || member === undefined) throw new Error('signing up gave no workspace')
  const definition = { name: 'Secret agent', instructions: 'Tell nobody.' }
  const { agent } = (await app.data(createAgent, { input: definition }, { token })).createAgent
  const input = { agentId: agent.id, prompt: 'A secret.', runAt: new Date(Date.now() + 3_600_000).toISOString() }
  const { task } = (await app.data(createTask, { input }, { token })).createTask
  return { workspace: workspace.id, member: member.id, user: member.user.id, agent: agent.id, task: task.id }
}

/** The id of the row that a global id names. */
export function rowId(globalId: string): string {
  const [, id] = Buffer.from(globalId, 'base64').toString().split(':')
  if (id === undefined) throw new Error(`${globalId} is no global id`)
  return id
}
