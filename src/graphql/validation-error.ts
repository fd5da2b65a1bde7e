import type { StandardSchemaV1 } from '@pothos/plugin-validation'
import type { BadUserInputError } from '../lib/errors.ts'
import { inputError, type InputProblem } from '../lib/parse-input.ts'

/** What the validation plugin throws when a schema refuses the arguments. */
export function validationError({ issues }: StandardSchemaV1.FailureResult): BadUserInputError {
  return inputError(issues.map(toProblem), '')
}

function toProblem(issue: StandardSchemaV1.Issue): InputProblem {
  const path = (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part))
  return { field: path.join('.'), message: issue.message }
}
