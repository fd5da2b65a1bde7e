import SchemaBuilder from '@pothos/core'
import ComplexityPlugin from '@pothos/plugin-complexity'
import DataloaderPlugin from '@pothos/plugin-dataloader'
import PrismaPlugin from '@pothos/plugin-prisma'
import RelayPlugin from '@pothos/plugin-relay'
import ScopeAuthPlugin from '@pothos/plugin-scope-auth'
import ValidationPlugin from '@pothos/plugin-validation'
import type PrismaTypes from '../generated/pothos-types.ts'
import { getDatamodel } from '../generated/pothos-types.ts'
import { ForbiddenError, UnauthenticatedError } from '../lib/errors.ts'
import './api-key-scopes.ts'
import './argument-checks.ts'
import type { GraphQLContext } from './context.ts'
import { defaultFieldCost } from './field-cost.ts'
import { DateTimeScalar, JsonScalar, SafeIntScalar } from './scalars.ts'
import { defaultPageSize, maxPageSize } from '../lib/keyset-page.ts'
import { validationError } from './validation-error.ts'

/**
 * The schema's builder; `<noun>.graphql.ts` files add their types to it.
 *
 * - Every field of Query, Mutation and Subscription needs a signed-in viewer unless it says `skipTypeScopes: true`;
 *   `authScopes: { admin: true }` asks for more.
 * - An API key gets as far as api-key-scopes.ts says: a new mutation is closed to keys until it is listed there.
 * - Global ids (`t.arg.globalID({ for: Ref })`, also inside inputs) reach the resolver as `{ typename, id }` with a UUID;
 *   anything else was refused as BAD_USER_INPUT with the argument's path.
 * - `first` and `last` are in 0…100; `after` and `before` of a connection are the cursor of a row's `id`, unless the field
 *   says `extensions: { ownCursor: true }` and checks its cursors itself.
 * - `validate: zodSchema` on an input type names all problems in one error; on its fields one by one, only the first.
 */
export const builder = new SchemaBuilder<{
  Context: GraphQLContext
  PrismaTypes: PrismaTypes
  AuthScopes: { signedIn: boolean; admin: boolean }
  Scalars: {
    ID: { Input: string; Output: string }
    DateTime: { Input: Date; Output: Date }
    JSON: { Input: unknown; Output: unknown }
    SafeInt: { Input: number; Output: number }
  }
  DefaultFieldNullability: false
  DefaultEdgesNullability: { list: false; items: false }
  DefaultNodeNullability: false
}>({
  // The first is the outermost around resolvers; argument checks run in the opposite order, ours before all others.
  plugins: [
    ScopeAuthPlugin,
    'apiKeyScopes',
    ComplexityPlugin,
    ValidationPlugin,
    RelayPlugin,
    DataloaderPlugin,
    PrismaPlugin,
    'argumentChecks',
  ],
  defaultFieldNullability: false,
  scopeAuth: {
    // Without it `subscribe` runs before the check.
    authorizeOnSubscribe: true,
    authScopes: ({ viewer }) => ({ signedIn: viewer !== null, admin: viewer?.role === 'ADMIN' }),
    unauthorizedError: (_parent, { viewer }) =>
      viewer === null ? new UnauthenticatedError() : new ForbiddenError('This is for administrators.'),
  },
  validation: { validationError },
  // Declares only; what an operation costs is added up before anything of it is executed (operation-cost.ts).
  complexity: { disabled: true, fieldComplexity: defaultFieldCost },
  relay: {
    cursorType: 'String',
    edgesFieldOptions: { nullable: { list: false, items: false }, description: 'The page, with the cursor of each.' },
    nodeFieldOptions: { nullable: false, description: 'What the edge leads to.' },
    cursorFieldOptions: { description: 'Where this edge is in the list: pass it as `after` or `before`.' },
    pageInfoFieldOptions: { description: 'How to go on.' },
    pageInfoTypeOptions: { description: 'Where a page of a list begins and ends, and whether there is more.' },
    hasNextPageFieldOptions: { description: 'Whether there is more after `endCursor`.' },
    hasPreviousPageFieldOptions: { description: 'Whether there is more before `startCursor`.' },
    startCursorFieldOptions: { description: 'The cursor of the first edge.' },
    endCursorFieldOptions: { description: 'The cursor of the last edge.' },
    firstArgOptions: { description: `How many from the front, at most ${maxPageSize}; default ${defaultPageSize}.` },
    afterArgOptions: { description: 'Only what comes after this cursor.' },
    lastArgOptions: { description: `How many from the end, at most ${maxPageSize}.` },
    beforeArgOptions: { description: 'Only what comes before this cursor.' },
    idFieldOptions: { description: 'The global id, opaque; unique over all types.' },
    nodeTypeOptions: { description: 'Anything with a global id.' },
    nodeQueryOptions: {
      description: 'Whatever has this id; null when it does not exist or is not yours.',
      args: { id: { description: 'The global id.' } },
    },
    nodesQueryOptions: {
      description: 'Whatever have these ids, in their order; null for each that does not exist or is not yours.',
      args: { ids: { description: 'The global ids, at most 100.' } },
    },
    defaultConnectionTypeOptions: { description: 'A page of a list.' },
    defaultEdgeTypeOptions: { description: 'One place in a list.' },
  },
  prisma: {
    client: (context) => context.services.db.prisma,
    dmmf: getDatamodel(),
    exposeDescriptions: false,
    filterConnectionTotalCount: true,
    maxConnectionSize: maxPageSize,
    defaultConnectionSize: defaultPageSize,
    // A resolver that ignores its query loads relations one row at a time: a bug, found by any test that runs it.
    onUnusedQuery: 'error',
  },
})

builder.addScalarType('DateTime', DateTimeScalar)
builder.addScalarType('JSON', JsonScalar)
builder.addScalarType('SafeInt', SafeIntScalar)

builder.queryType({ description: 'What can be read.', authScopes: { signedIn: true } })
builder.mutationType({ description: 'What can be changed.', authScopes: { signedIn: true } })
builder.subscriptionType({ description: 'What can be watched live.', authScopes: { signedIn: true } })
