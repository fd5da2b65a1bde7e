import type { z } from 'zod'
import { BadUserInputError } from './errors.ts'

/** One thing that is wrong with the arguments: where, dotted as the caller wrote it, and what. */
export type InputProblem = { field: string; message: string }

/**
 * Returns `value` as `schema` reads it. Throws one BadUserInputError for everything that is wrong: `details.field` is the first
 * wrong field, `details.problems` are all; each path begins with `root`, the argument's name. A custom issue may carry what can be done
 * about it as `params: { suggestion }`.
 */
export function parseInput<Output>(schema: z.ZodType<Output>, value: unknown, root = 'input'): Output {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map((issue) => toProblem(issue, root))
  throw inputError(problems, root, parsed.error.issues.flatMap(suggestionsOf))
}

/** One error for everything that is wrong; `root` is what it names when nothing is listed. */
export function inputError(
  problems: readonly InputProblem[],
  root = 'input',
  suggestions: readonly string[] = [],
): BadUserInputError {
  const message = problems.map((problem) => `${problem.field}: ${problem.message}`).join('; ')
  return new BadUserInputError(problems[0]?.field ?? root, message, { details: { problems }, suggestions })
}

function toProblem(issue: z.core.$ZodIssue, root: string): InputProblem {
  return { field: [root, ...issue.path.map(String)].join('.'), message: issue.message }
}

function suggestionsOf(issue: z.core.$ZodIssue): string[] {
  const suggestion: unknown = issue.code === 'custom' ? issue.params?.['suggestion'] : undefined
  return typeof suggestion === 'string' ? [suggestion] : []
}
