import type { ApiKey } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { inOrder } from '../../graphql/in-order.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { WorkspaceRef } from '../workspaces/workspace.graphql.ts'
import { maxApiKeys, maxNameLength, type NewApiKey } from './api-keys.ts'
import { requireSession, requireViewer } from './viewer.ts'
import { visibleApiKeys } from './visible-rows.ts'

const ApiScopeRef = builder.enumType('ApiScope', {
  description: 'What an API key may do in its workspace.',
  values: {
    READ: { description: 'Read everything that its maker may read, and follow streams.' },
    TASKS: { description: 'Submit, cancel, retry and schedule tasks.' },
    AGENTS: { description: 'Make and change agents.' },
    COMPLETIONS: { description: 'Ask models without an agent.' },
  } as const,
})

const ApiKeyRef = builder.prismaObject('ApiKey', {
  description: 'A key for programs: bound to a workspace, it acts there for who made it, within its scopes.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'What people call it.' }),
    prefix: t.exposeString('prefix', { description: 'What its secret begins with, after `mk_`: finds it again.' }),
    scopes: t.expose('scopes', { type: [ApiScopeRef], description: 'What it may do.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    expiresAt: t.expose('expiresAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it ends by itself; null: never.',
    }),
    lastUsedAt: t.expose('lastUsedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it was last used, to the minute; null: never.',
    }),
  }),
})

builder.nodeRef(ApiKeyRef, {
  id: { resolve: ({ id }: ApiKey) => id },
  loadManyWithoutCache: async (ids: string[], { viewer, services }) => {
    if (viewer === null) return ids.map(() => null)
    const where = { AND: [{ id: { in: ids } }, visibleApiKeys(viewer)] }
    return inOrder(ids, await services.db.prisma.apiKey.findMany({ where }))
  },
})

builder.prismaObjectField('Workspace', 'apiKeys', (t) =>
  t.relation('apiKeys', {
    description: `Its API keys that were not revoked, the oldest first, at most ${maxApiKeys}; a key sees itself only.`,
    query: (_args, { viewer }) => ({
      where: visibleApiKeys(requireViewer(viewer)),
      orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
    }),
  }),
)

const CreateApiKeyInput = builder.inputType('CreateApiKeyInput', {
  description: 'A new API key.',
  fields: (t) => ({
    workspaceId: t.globalID({ for: WorkspaceRef, description: 'Where it works; default: your personal workspace.' }),
    name: t.string({
      required: true,
      description: `What people call it: 1 to ${maxNameLength} characters in one line.`,
    }),
    scopes: t.field({ type: [ApiScopeRef], required: true, description: 'What it may do: at least one.' }),
    expiresAt: t.field({ type: 'DateTime', description: 'When it ends by itself; default: never.' }),
  }),
})

const ApiKeyInput = builder.inputType('ApiKeyInput', {
  description: 'Which API key.',
  fields: (t) => ({ id: t.globalID({ for: ApiKeyRef, required: true, description: 'The key.' }) }),
})

const ApiKeySecretPayload = builder.objectRef<NewApiKey>('ApiKeySecretPayload').implement({
  description: 'An API key with its secret.',
  fields: (t) => ({
    apiKey: t.expose('apiKey', { type: ApiKeyRef, description: 'The key.' }),
    secret: t.exposeString('secret', {
      description: 'Send it as `Authorization: Bearer <secret>`. It is shown this once, and not stored.',
    }),
  }),
})

const ApiKeyPayload = builder.objectRef<{ apiKey: ApiKey }>('ApiKeyPayload').implement({
  description: 'An API key that was changed.',
  fields: (t) => ({ apiKey: t.expose('apiKey', { type: ApiKeyRef, description: 'As it is now.' }) }),
})

builder.mutationFields((t) => ({
  createApiKey: t.field({
    type: ApiKeySecretPayload,
    description: 'Makes an API key; for owners and members.',
    args: { input: t.arg({ type: CreateApiKeyInput, required: true, description: 'What it is for.' }) },
    resolve: (_root, { input }, context) => {
      const fields = { ...input, workspaceId: input.workspaceId?.id }
      return context.services.apiKeys.create(requireSession(context.viewer), fields, originOf(context))
    },
  }),
  rotateApiKey: t.field({
    type: ApiKeySecretPayload,
    description: 'Gives an API key another secret; the old one is refused at once. For its maker and for owners.',
    args: { input: t.arg({ type: ApiKeyInput, required: true, description: 'Which key.' }) },
    resolve: (_root, { input }, context) =>
      context.services.apiKeys.rotate(requireSession(context.viewer), input.id.id, originOf(context)),
  }),
  revokeApiKey: t.field({
    type: ApiKeyPayload,
    description: 'Ends an API key for good; what is connected with it is cut off. For its maker and for owners.',
    args: { input: t.arg({ type: ApiKeyInput, required: true, description: 'Which key.' }) },
    resolve: async (_root, { input }, context) => ({
      apiKey: await context.services.apiKeys.revoke(requireSession(context.viewer), input.id.id, originOf(context)),
    }),
  }),
}))
