import { statePart } from './agent-state.ts'
import type { DependencyResult } from './dependency-results.ts'
import type { ClaimedRun } from './task-json.ts'

export type PromptMessage = { role: 'system' | 'user'; content: string }

/** How much of the outputs of a task's dependencies its prompt has, in characters (code points): of each, and of all together. */
export const dependencyBudget = { perDependency: 32_768, total: 131_072 } as const

/** What each of `count` dependencies gets: the total is shared evenly. */
export function charactersPerDependency(count: number): number {
  return Math.min(dependencyBudget.perDependency, Math.floor(dependencyBudget.total / Math.max(1, count)))
}

/**
 * What the model reads. The parts that change least come first, so that a provider's prefix cache can help:
 *
 *   system: the agent's instructions
 *   user:   the agent's state, when there is one (statePart); the task's prompt; then, when the task has an input, a line "Input (JSON):" and the
 *           input as indented JSON; then, when it depends on others, a line "Results of the tasks that this one depends on (JSON):" and an array, in the order given at submit, of
 *           {"name", "status", "output", "outputCut"?, "reason"?}: docs/tasks.md
 *
 * JSON, so that no output can be taken for something else than what it is.
 */
export function buildMessages(
  { agent, prompt, input }: ClaimedRun,
  dependencies: readonly DependencyResult[] = [],
): PromptMessage[] {
  const inputPart = input === null ? '' : section('Input', input)
  const results = dependencies.map(resultJson)
  const resultsPart = results.length === 0 ? '' : section('Results of the tasks that this one depends on', results)
  return [
    { role: 'system', content: agent.instructions },
    { role: 'user', content: statePart(agent) + prompt + inputPart + resultsPart },
  ]
}

function section(title: string, value: unknown): string {
  return `\n\n${title} (JSON):\n${JSON.stringify(value, null, 2)}`
}

// JSON.stringify leaves out what is undefined.
function resultJson({ name, status, output, outputCharacters, reason }: DependencyResult): Record<string, unknown> {
  const shown = [...(output ?? '')].length
  const isCut = shown < outputCharacters
  return {
    name,
    status,
    output,
    outputCut: isCut ? `Only the first ${shown} of ${outputCharacters} characters are shown.` : undefined,
    reason: reason ?? undefined,
  }
}
