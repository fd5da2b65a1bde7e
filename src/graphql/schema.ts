import { lexicographicSortSchema, printSchema, type GraphQLSchema } from 'graphql'
import '../features/accounts/accounts.graphql.ts'
import '../features/accounts/authentication.graphql.ts'
import '../features/accounts/api-keys.graphql.ts'
import '../features/accounts/sessions.graphql.ts'
import '../features/accounts/users.graphql.ts'
import '../features/agents/agents.graphql.ts'
import '../features/budgets/budgets.graphql.ts'
import '../features/audit/audit-log.graphql.ts'
import '../features/completions/completions.graphql.ts'
import '../features/schedules/schedules.graphql.ts'
import '../features/models/models.graphql.ts'
import '../features/tasks/task-events.graphql.ts'
import '../features/tasks/task-graphs.graphql.ts'
import '../features/tasks/task-retries.graphql.ts'
import '../features/tasks/task-lists.graphql.ts'
import '../features/tasks/streams/task-streams.graphql.ts'
import '../features/tasks/task-priorities.graphql.ts'
import '../features/tasks/tasks.graphql.ts'
import '../features/usage/model-attempt.graphql.ts'
import '../features/usage/usage.graphql.ts'
import '../features/usage/usage-report.graphql.ts'
import '../features/workspaces/members.graphql.ts'
import '../features/workspaces/workspaces.graphql.ts'
import { builder } from './builder.ts'

/** The whole schema: everything that the features imported above have added to the builder. */
export function createSchema(): GraphQLSchema {
  return builder.toSchema()
}

/** The schema in the form in which `schema.graphql` holds it: sorted, so that only changes show as changes. */
export function printedSchema(): string {
  return `${printSchema(lexicographicSortSchema(createSchema()))}\n`
}
