import SchemaBuilder, { BasePlugin, type PothosOutputFieldConfig, type SchemaTypes } from '@pothos/core'
import { getNamedType, isObjectType, type GraphQLFieldResolver, type GraphQLOutputType } from 'graphql'
import type { ApiScope } from '../generated/prisma/client.ts'
import type { ApiKeyGrant } from '../features/accounts/viewer.ts'
import { ForbiddenError } from '../lib/errors.ts'
import type { GraphQLContext } from './context.ts'

/** What a root field needs from an API key. `ANY`: whichever key. `SESSION`: no key will do. */
type Needed = ApiScope | 'ANY' | 'SESSION'

/** What is not listed is READ for queries and subscriptions, and SESSION for mutations: a new one is closed to keys until it is listed. */
export const neededScopes: Readonly<Record<string, Needed>> = {
  viewer: 'ANY',
  csrfToken: 'ANY',
  signUp: 'ANY',
  logIn: 'ANY',
  refreshSession: 'ANY',
  createTask: 'TASKS',
  createTaskGraph: 'TASKS',
  cancelTask: 'TASKS',
  cancelTasks: 'TASKS',
  retryTask: 'TASKS',
  retryTasks: 'TASKS',
  setTaskPriority: 'TASKS',
  createSchedule: 'TASKS',
  updateSchedule: 'TASKS',
  deleteSchedule: 'TASKS',
  createAgent: 'AGENTS',
  updateAgent: 'AGENTS',
  pauseAgent: 'AGENTS',
  resumeAgent: 'AGENTS',
  archiveAgent: 'AGENTS',
  complete: 'COMPLETIONS',
}
const neededForSubscriptions: Readonly<Record<string, Needed>> = { completion: 'COMPLETIONS' }

declare global {
  // oxlint-disable-next-line typescript/no-namespace -- Pothos plugins register themselves in its namespace
  export namespace PothosSchemaTypes {
    export interface Plugins<Types extends SchemaTypes> {
      apiKeyScopes: ApiKeyScopesPlugin<Types>
    }
  }
}

type Resolver<Types extends SchemaTypes> = GraphQLFieldResolver<unknown, Types['Context'], object>
type ScopedContext = Pick<GraphQLContext, 'viewer'>

/**
 * Holds API keys to their scopes, on every way in: root fields need what the table says, and without READ no field leads on from what a
 * mutation answers with to other objects of the workspace.
 */
class ApiKeyScopesPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override wrapResolve(resolver: Resolver<Types>, field: PothosOutputFieldConfig<Types>): Resolver<Types> {
    if (field.kind === 'Query' || field.kind === 'Mutation') {
      return guarded(resolver, neededScopes[field.name] ?? (field.kind === 'Query' ? 'READ' : 'SESSION'))
    }
    const leadsOn = field.type.kind !== 'Scalar' && field.type.kind !== 'Enum' && !field.parentType.endsWith('Payload')
    return leadsOn && field.kind !== 'Subscription' ? readingOnly(resolver) : resolver
  }

  override wrapSubscribe(
    subscribe: Resolver<Types> | undefined,
    field: PothosOutputFieldConfig<Types>,
  ): Resolver<Types> | undefined {
    return subscribe && guarded(subscribe, neededForSubscriptions[field.name] ?? 'READ')
  }
}

SchemaBuilder.registerPlugin('apiKeyScopes', ApiKeyScopesPlugin)

function guarded<Context extends object>(
  resolver: GraphQLFieldResolver<unknown, Context, object>,
  needed: Needed,
): GraphQLFieldResolver<unknown, Context, object> {
  return (parent, args, context, info) => {
    assertScope(context, needed)
    return resolver(parent, args, context, info)
  }
}

function readingOnly<Context extends object>(
  resolver: GraphQLFieldResolver<unknown, Context, object>,
): GraphQLFieldResolver<unknown, Context, object> {
  return (parent, args, context, info) => {
    if (apiKeyOf(context) !== undefined && isOtherObject(info.returnType)) assertScope(context, 'READ')
    return resolver(parent, args, context, info)
  }
}

/** Whether it has an id of its own, or is a list of such. Parts of an object (its usage, its error) belong to it. */
function isOtherObject(type: GraphQLOutputType): boolean {
  const named = getNamedType(type)
  if (!isObjectType(named)) return true
  return named.name.endsWith('Connection') || named.getInterfaces().some(({ name }) => name === 'Node')
}

function assertScope(context: object, needed: Needed): void {
  const apiKey = apiKeyOf(context)
  if (apiKey === undefined || needed === 'ANY') return
  if (needed === 'SESSION') {
    throw new ForbiddenError('An API key cannot do this.', { suggestions: ['Log in, and send the access token.'] })
  }
  if (apiKey.scopes.includes(needed)) return
  throw new ForbiddenError(`This needs an API key with the scope ${needed}.`, {
    details: { needed, scopes: apiKey.scopes },
    suggestions: [`Make a key with the scope ${needed}: createApiKey.`],
  })
}

function apiKeyOf(context: object): ApiKeyGrant | undefined {
  if (!hasViewer(context)) throw new Error('an operation has no viewer')
  return context.viewer?.apiKey
}

// Pothos knows the type of the context only where the schema is built.
const hasViewer = (context: object): context is ScopedContext => 'viewer' in context
