import { z } from 'zod'
import { AppError } from '../../lib/errors.ts'
import { integerIn, numberIn } from '../../lib/input-numbers.ts'
import { jsonObject, type JsonObject } from '../../lib/stored-text.ts'
import { agentLimits } from './agent-limits.ts'

/** What needs more than the value to be checked. Each throws an AppError whose message says what is wrong. */
export type DefinitionChecks = {
  /** Throws when a name is no model or alias of a configured provider. */
  resolveModels: (models: readonly string[]) => void
  /** Throws when it is not a JSON Schema that an answer can be held to. */
  compileOutputSchema: (schema: JsonObject) => void
}

/** The schemas of what is said of a model call, for agents and for completions alike. */
export function createModelParameters({ resolveModels, compileOutputSchema }: DefinitionChecks) {
  return {
    models: z
      .array(z.string('must be text').max(agentLimits.modelNameLength, 'is too long'), 'must be a list')
      .max(agentLimits.models, `must have at most ${agentLimits.models} entries`)
      .superRefine((names, context) => {
        for (const [index, model] of names.entries()) report(context, [index], () => resolveModels([model]))
      }),
    temperature: numberIn(agentLimits.temperature),
    maxOutputTokens: integerIn(agentLimits.maxOutputTokens),
    outputSchema: jsonObject(agentLimits.outputSchemaBytes).superRefine((schema, context) =>
      report(context, [], () => compileOutputSchema(schema)),
    ),
  }
}

function report(context: z.RefinementCtx, path: PropertyKey[], check: () => void): void {
  try {
    check()
  } catch (error) {
    // Anything else is a bug of the check.
    if (!(error instanceof AppError)) throw error
    context.addIssue({ code: 'custom', path, message: error.message })
  }
}
