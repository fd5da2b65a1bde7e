import type { Session, User } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { clientInfo, SessionRef, UserRef } from './accounts.graphql.ts'
import { requireSession } from './viewer.ts'

const RevokeSessionInput = builder.inputType('RevokeSessionInput', {
  description: 'Which session ends.',
  fields: (t) => ({
    id: t.globalID({ for: SessionRef, required: true, description: 'One of your sessions.' }),
  }),
})

const RevokeSessionPayload = builder.objectRef<{ session: Session }>('RevokeSessionPayload').implement({
  description: 'A session that has ended.',
  fields: (t) => ({ session: t.expose('session', { type: SessionRef, description: 'The session.' }) }),
})

const RevokeOtherSessionsPayload = builder.objectRef<{ revoked: number }>('RevokeOtherSessionsPayload').implement({
  description: 'All other sessions have ended.',
  fields: (t) => ({ revoked: t.exposeInt('revoked', { description: 'How many.' }) }),
})

const ChangePasswordInput = builder.inputType('ChangePasswordInput', {
  description: 'A new password.',
  fields: (t) => ({
    currentPassword: t.string({ required: true, description: 'The password as it is.' }),
    newPassword: t.string({
      required: true,
      description: '12 to 128 characters, hard to guess for somebody who knows the e-mail.',
    }),
  }),
})

const ChangePasswordPayload = builder.objectRef<{ user: User }>('ChangePasswordPayload').implement({
  description: 'The password was changed.',
  fields: (t) => ({ user: t.expose('user', { type: UserRef, description: 'Your account.' }) }),
})

builder.mutationFields((t) => ({
  revokeSession: t.field({
    type: RevokeSessionPayload,
    description: 'Ends one of your sessions: its tokens are refused and its sockets closed within a second.',
    args: { input: t.arg({ type: RevokeSessionInput, required: true, description: 'Which session.' }) },
    resolve: async (_root, { input }, context) => {
      const viewer = requireSession(context.viewer)
      return { session: await context.services.accounts.revoke(viewer, input.id.id, clientInfo(context)) }
    },
  }),
  revokeOtherSessions: t.field({
    type: RevokeOtherSessionsPayload,
    description: 'Ends all of your sessions but the one of this request.',
    resolve: async (_root, _args, context) => ({
      revoked: await context.services.accounts.revokeOthers(requireSession(context.viewer), clientInfo(context)),
    }),
  }),
  changePassword: t.field({
    type: ChangePasswordPayload,
    description: 'Changes your password and ends all of your other sessions. API keys stay as they are.',
    args: { input: t.arg({ type: ChangePasswordInput, required: true, description: 'The old and the new one.' }) },
    resolve: async (_root, { input }, context) => ({
      user: await context.services.accounts.changePassword(requireSession(context.viewer), input, clientInfo(context)),
    }),
  }),
}))
