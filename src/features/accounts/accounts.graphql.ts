import { UserRole } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import type { GraphQLContext } from '../../graphql/context.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { ClientInfo } from './client-info.ts'
import { requireViewer } from './viewer.ts'
import { sessionsOf, visibleSession, visibleUser } from './visible-rows.ts'

const UserRoleRef = builder.enumType('UserRole', {
  description: 'What somebody may do on this server.',
  values: {
    [UserRole.ADMIN]: { description: 'Manages the server: users, feature flags, metrics, the audit log.' },
    [UserRole.USER]: { description: 'Works in workspaces.' },
  },
})

export const UserRef = builder.prismaNode('User', {
  description: 'An account. You see your own and those of the people in your workspaces.',
  id: { field: 'id' },
  nullable: true,
  findUnique: (id, { viewer }) => visibleUser(id, requireViewer(viewer)),
  fields: (t) => ({
    email: t.exposeString('email', { description: 'Normalised: NFC, lower case.' }),
    role: t.expose('role', { type: UserRoleRef, description: 'What they may do on this server.' }),
    disabled: t.exposeBoolean('disabled', { description: 'Whether an administrator has shut them out.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When they signed up.' }),
  }),
})

export const SessionRef = builder.prismaNode('Session', {
  description:
    'What logIn or signUp opened: one device or program. It ends after 7 days without a refresh, and on logOut.',
  id: { field: 'id' },
  nullable: true,
  findUnique: (id, { viewer }) => visibleSession(id, requireViewer(viewer)),
  fields: (t) => ({
    current: t.boolean({
      description: 'Whether this request belongs to it.',
      resolve: ({ id }, _args, { viewer }) => id === viewer?.sessionId,
    }),
    userAgent: t.exposeString('userAgent', {
      nullable: true,
      description: 'What the program that logged in called itself.',
    }),
    ip: t.exposeString('ip', { nullable: true, description: 'The address that it logged in from.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was opened.' }),
    lastUsedAt: t.expose('lastUsedAt', { type: 'DateTime', description: 'When it was last opened or refreshed.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'When it ends in any case.' }),
  }),
})

const ViewerRef = builder.prismaObject('User', {
  variant: 'Viewer',
  description: 'Who asks. An API key asks for the person who made it.',
  fields: (t) => ({
    user: t.variant(UserRef, { description: 'Your account; for an API key, its maker’s.' }),
    memberships: t.relation('memberships', {
      description: 'The workspaces that you are in, the oldest membership first; an API key sees its own only.',
      query: (_args, { viewer }) => ({
        // The plugin asks also when there is nobody, whose memberships nobody reads then.
        where: viewer === null ? { id: { in: [] } } : { workspace: workspacesOf(viewer) },
        orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
      }),
    }),
    sessions: t.relation('sessions', {
      description: 'Your sessions that can still be used, the newest first; an API key sees none.',
      query: (_args, { viewer, services }) => sessionsOf(viewer, services.clock.now()),
    }),
  }),
})

builder.queryField('viewer', (t) =>
  t.prismaField({
    type: ViewerRef,
    nullable: true,
    skipTypeScopes: true,
    description: 'Who asks; null when nobody is signed in.',
    resolve: (query, _root, _args, { viewer, services }) => {
      // Read in any case: the plugin takes a query that nobody reads for a mistake.
      const selection = { ...query }
      return viewer && services.db.prisma.user.findUnique({ ...selection, where: { id: viewer.userId } })
    },
  }),
)

export function clientInfo({ client, requestId }: GraphQLContext): ClientInfo {
  return { ...client, requestId }
}
