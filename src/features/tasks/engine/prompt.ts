import { statePart } from './agent-state.ts'
import type { ClaimedRun } from './task-json.ts'

export type PromptMessage = { role: 'system' | 'user'; content: string }

/**
 * What the model reads. The parts that change least come first, so that a provider's prefix cache can help:
 *
 *   system: the agent's instructions
 *   user:   the agent's state, when there is one (statePart); the task's prompt; then, when the task has an input, a line "Input (JSON):" and the input as indented JSON
 */
export function buildMessages({ agent, prompt, input }: ClaimedRun): PromptMessage[] {
  const inputPart = input === null ? '' : `\n\nInput (JSON):\n${JSON.stringify(input, null, 2)}`
  return [
    { role: 'system', content: agent.instructions },
    { role: 'user', content: statePart(agent) + prompt + inputPart },
  ]
}
