import type { Session } from './session.ts'

/** What there is before anything goes wrong. */
export type Scene = {
  /** Some more than once: they get more of the tasks. */
  agentIds: [string, ...string[]]
  workspaceId: string
  /** Before the first event. */
  feedCursor: string
}

const retryPolicy = { maxAttempts: 20, initialDelayMs: 50, maxDelayMs: 1_000 }

/** Three agents in the person's own workspace: one with room for many, one with little, one that does not try again after a crash. */
export async function setScene(session: Session): Promise<Scene> {
  async function createAgent(input: Record<string, unknown>): Promise<string> {
    const { createAgent: payload } = await session.ask<{ createAgent: { agent: { id: string } } }>(
      'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
      { input: { instructions: 'Write.', retryPolicy, ...input } },
    )
    return payload.agent.id
  }
  const { workspace } = await session.ask<{ workspace: { id: string; feedCursor: string } }>(
    '{ workspace { id feedCursor } }',
    {},
  )
  const wide = await createAgent({ name: 'Wide', concurrency: 40 })
  const narrow = await createAgent({ name: 'Narrow', concurrency: 6 })
  const once = await createAgent({ name: 'Fails with its worker', concurrency: 10, crashPolicy: 'FAIL' })
  return {
    agentIds: [wide, wide, wide, wide, narrow, once],
    workspaceId: workspace.id,
    feedCursor: workspace.feedCursor,
  }
}
