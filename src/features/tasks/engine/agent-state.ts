import { utf8Bytes } from '../../../lib/stored-text.ts'
import { agentLimits } from '../../agents/agent-limits.ts'
import type { ClaimedRun } from './task-json.ts'
import type { AgentStateWrite } from './transition-input.ts'

/** The property of a structured answer that is the agent's new state, when the agent's `outputSchema` declares it. */
export const statePropertyName = 'agentState'

type AgentOfRun = ClaimedRun['agent']

/**
 * What the model is told of the agent's state, before the task's prompt: a line "State (JSON):", the state as indented JSON, and, when answers can
 * change it, how. Empty for an agent that has no state and whose answers cannot make one.
 */
export function statePart(agent: AgentOfRun): string {
  const isWritable = declaresState(agent)
  if (!isWritable && Object.keys(agent.state).length === 0) return ''
  const how = isWritable ? `To change it, answer with the whole new state as "${statePropertyName}".\n` : ''
  return `State (JSON):\n${JSON.stringify(agent.state, null, 2)}\n${how}\n`
}

/**
 * The state that an answer leaves: the value of `agentState`, which replaces the one that the run was given. Absent or null: it stays. What
 * cannot be a state is not written, and `problem` says why.
 */
export function stateOfAnswer(
  agent: AgentOfRun,
  answer: unknown,
): { write: AgentStateWrite | null; problem: string | null } {
  const value = declaresState(agent) && isObject(answer) ? (answer[statePropertyName] ?? null) : null
  if (value === null) return { write: null, problem: null }
  if (!isObject(value)) return refused(`"${statePropertyName}" is not a JSON object`)
  const bytes = utf8Bytes(JSON.stringify(value))
  if (bytes > agentLimits.stateBytes) return refused(`it has ${bytes} bytes, and may have ${agentLimits.stateBytes}`)
  return { write: { state: value, version: agent.stateVersion }, problem: null }
}

function refused(why: string): { write: null; problem: string } {
  return { write: null, problem: `The agent's state was not written: ${why}.` }
}

function declaresState({ outputSchema }: AgentOfRun): boolean {
  const properties = outputSchema?.['properties']
  return isObject(properties) && Object.hasOwn(properties, statePropertyName)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
