import type { StandardSchemaV1 } from '@pothos/plugin-validation'
import { BadUserInputError } from '../lib/errors.ts'

/** One thing that is wrong with the arguments: where, dotted as the caller wrote it, and what. */
export type InputProblem = { field: string; message: string }

/** One error for everything that is wrong: `details.field` is the first, `details.problems` are all. */
export function badInput(problems: readonly [InputProblem, ...InputProblem[]]): BadUserInputError {
  const [first] = problems
  const message = problems.map((problem) => `${problem.field}: ${problem.message}`).join('; ')
  return new BadUserInputError(first.field, message, { details: { problems } })
}

/** What the validation plugin throws when a schema refuses the arguments. */
export function validationError({ issues }: StandardSchemaV1.FailureResult): BadUserInputError {
  const [first, ...rest] = issues.map(toProblem)
  return badInput([first ?? { field: '', message: 'The arguments are not valid.' }, ...rest])
}

function toProblem(issue: StandardSchemaV1.Issue): InputProblem {
  const path = (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part))
  return { field: path.join('.'), message: issue.message }
}
