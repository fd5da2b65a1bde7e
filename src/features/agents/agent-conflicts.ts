import type { Agent } from '../../generated/prisma/client.ts'
import { BadUserInputError, ConflictError } from '../../lib/errors.ts'
import { delaysOutOfOrder } from './retry-policy.ts'

export function archived(): ConflictError {
  return new ConflictError('The agent is archived and cannot be changed.', {
    details: { status: 'ARCHIVED' },
    suggestions: ['Make a new agent with createAgent.'],
  })
}

/** Why changeAgent refused, from the row as it is now. */
export function notChanged(agent: Agent, expectedVersion: number | null): ConflictError | BadUserInputError {
  if (agent.status === 'ARCHIVED') return archived()
  if (expectedVersion !== null && agent.version !== expectedVersion) {
    return new ConflictError(
      `The agent has version ${agent.version}, not ${expectedVersion}: somebody has changed it.`,
      {
        details: { version: agent.version, expectedVersion },
        suggestions: ['Read the agent again, and repeat the change with its version.'],
      },
    )
  }
  return new BadUserInputError('input.retryPolicy.maxDelayMs', delaysOutOfOrder.message)
}
