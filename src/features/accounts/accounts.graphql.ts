import { UserRole } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import type { GraphQLContext } from '../../graphql/context.ts'
import { BadUserInputError } from '../../lib/errors.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { SessionTokens } from './accounts.ts'
import type { ClientInfo } from './client-info.ts'
import { requireSession, requireViewer } from './viewer.ts'
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

const AuthPayload = builder.objectRef<SessionTokens>('AuthPayload').implement({
  description: 'The tokens of a session.',
  fields: (t) => ({
    user: t.field({ type: UserRef, description: 'Whose session it is.', resolve: ({ user }) => user }),
    accessToken: t.exposeString('accessToken', {
      nullable: true,
      description: 'Send it as `Authorization: Bearer <token>`; valid for 10 minutes.',
    }),
    refreshToken: t.exposeString('refreshToken', {
      nullable: true,
      description: 'Exchange it once, with refreshSession, for the next pair; valid for 7 days.',
    }),
    accessTokenExpiresAt: t.expose('accessTokenExpiresAt', {
      type: 'DateTime',
      description: 'When the access token expires.',
    }),
  }),
})

const LogOutPayload = builder.objectRef<{ ok: boolean }>('LogOutPayload').implement({
  description: 'The session has ended.',
  fields: (t) => ({ ok: t.exposeBoolean('ok', { description: 'Always true.' }) }),
})

const SignUpInput = builder.inputType('SignUpInput', {
  description: 'A new account.',
  fields: (t) => ({
    email: t.string({ required: true, description: 'An e-mail address, at most 254 characters.' }),
    password: t.string({
      required: true,
      description: '12 to 128 characters, hard to guess for somebody who knows the e-mail.',
    }),
    bootstrapToken: t.string({
      description: 'The MONK_BOOTSTRAP_TOKEN of a server in production: makes its first administrator.',
    }),
  }),
})

const LogInInput = builder.inputType('LogInInput', {
  description: 'Who wants to come in.',
  fields: (t) => ({
    email: t.string({ required: true, description: 'The e-mail of the account.' }),
    password: t.string({ required: true, description: 'Its password.' }),
  }),
})

const RefreshSessionInput = builder.inputType('RefreshSessionInput', {
  description: 'Which session goes on.',
  fields: (t) => ({
    refreshToken: t.string({ description: 'The newest refresh token of the session.' }),
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

builder.mutationFields((t) => ({
  signUp: t.field({
    type: AuthPayload,
    skipTypeScopes: true,
    description:
      'Makes an account with a personal workspace, and logs it in. On a fresh server it becomes the administrator.',
    args: { input: t.arg({ type: SignUpInput, required: true, description: 'The account.' }) },
    resolve: (_root, { input }, context) => context.services.accounts.signUp(input, clientInfo(context)),
  }),
  logIn: t.field({
    type: AuthPayload,
    skipTypeScopes: true,
    description: 'Opens a session.',
    args: { input: t.arg({ type: LogInInput, required: true, description: 'E-mail and password.' }) },
    resolve: (_root, { input }, context) => context.services.accounts.logIn(input, clientInfo(context)),
  }),
  refreshSession: t.field({
    type: AuthPayload,
    skipTypeScopes: true,
    description:
      'Exchanges a refresh token for new tokens. A token that comes back after it was used ends the session.',
    args: { input: t.arg({ type: RefreshSessionInput, description: 'The refresh token.' }) },
    resolve: (_root, { input }, context) =>
      context.services.accounts.refreshSession(requireRefreshToken(input?.refreshToken), clientInfo(context)),
  }),
  logOut: t.field({
    type: LogOutPayload,
    description: 'Ends the session of this request: its tokens are refused from now on.',
    resolve: async (_root, _args, context) => {
      await context.services.accounts.logOut(requireSession(context.viewer), clientInfo(context))
      return { ok: true }
    },
  }),
}))

export function clientInfo({ client, requestId }: GraphQLContext): ClientInfo {
  return { ...client, requestId }
}

function requireRefreshToken(token: string | null | undefined): string {
  if (token === null || token === undefined) {
    throw new BadUserInputError('input.refreshToken', 'Send the newest refresh token of the session.')
  }
  return token
}
