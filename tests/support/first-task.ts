import type { GraphQLClient } from './graphql-client.ts'

/** What it takes to submit tasks: an account and an agent, made through the public API. */
export type Submitter = {
  token: string
  agentId: string
  /** Submits a task to the first agent. */
  submit(client: GraphQLClient): Promise<string>
  /** Makes one more agent. */
  createAgent(agent: Record<string, unknown>): Promise<string>
  submitTo(client: GraphQLClient, agentId: string, task?: Record<string, unknown>): Promise<string>
}

export async function createSubmitter(client: GraphQLClient, agent: Record<string, unknown> = {}): Promise<Submitter> {
  const account = { email: 'somebody@example.com', password: 'a rather long pass phrase 42' }
  const { signUp } = await client.data<{ signUp: { accessToken: string } }>(
    'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }',
    { input: account },
  )
  const token = signUp.accessToken

  async function createAgent(input: Record<string, unknown>): Promise<string> {
    const { createAgent: payload } = await client.data<{ createAgent: { agent: { id: string } } }>(
      'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
      { input: { name: 'Writer', instructions: 'Write.', ...input } },
      { token },
    )
    return payload.agent.id
  }

  async function submitTo(
    through: GraphQLClient,
    agentId: string,
    task: Record<string, unknown> = {},
  ): Promise<string> {
    const { createTask } = await through.data<{ createTask: { task: { id: string } } }>(
      'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } } }',
      { input: { agentId, prompt: 'Go.', ...task } },
      { token },
    )
    return createTask.task.id
  }

  const agentId = await createAgent(agent)
  return { token, agentId, submit: (through) => submitTo(through, agentId), createAgent, submitTo }
}

/** The id of the row inside a global id. */
export function rowId(globalId: string): string {
  return Buffer.from(globalId, 'base64').toString().split(':')[1] ?? ''
}
