import type { GraphQLClient } from './graphql-client.ts'

/** What it takes to submit tasks: an account and an agent, made through the public API. */
export type Submitter = { token: string; agentId: string; submit(client: GraphQLClient): Promise<string> }

export async function createSubmitter(client: GraphQLClient, agent: Record<string, unknown> = {}): Promise<Submitter> {
  const input = { email: 'somebody@example.com', password: 'a rather long pass phrase 42' }
  const { signUp } = await client.data<{ signUp: { accessToken: string } }>(
    'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }',
    { input },
  )
  const token = signUp.accessToken
  const { createAgent } = await client.data<{ createAgent: { agent: { id: string } } }>(
    'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
    { input: { name: 'Writer', instructions: 'Write.', ...agent } },
    { token },
  )
  const agentId = createAgent.agent.id
  return {
    token,
    agentId,
    async submit(through) {
      const { createTask } = await through.data<{ createTask: { task: { id: string } } }>(
        'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
        { input: { agentId, prompt: 'Go.' } },
        { token },
      )
      return createTask.task.id
    },
  }
}

/** The id of the row inside a global id. */
export function rowId(globalId: string): string {
  return Buffer.from(globalId, 'base64').toString().split(':')[1] ?? ''
}
