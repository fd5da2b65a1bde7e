import type { User } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { parsePageArguments } from '../../lib/keyset-page.ts'
import { UserRef } from './accounts.graphql.ts'
import { requireSession } from './viewer.ts'

const UserConnection = builder.connectionObject({ type: UserRef, name: 'UserConnection' })

// Not `t.connection`, which would add arguments for going backward.
builder.queryField('users', (t) =>
  t.field({
    type: UserConnection,
    authScopes: { admin: true },
    description: 'All accounts of this server, the newest first; for administrators.',
    extensions: { ownCursor: true },
    args: {
      first: t.arg.int({ description: 'How many, at most 100; default 20.' }),
      after: t.arg.string({ description: 'Only what comes after this cursor.' }),
    },
    resolve: (_root, args, { services }) => services.userAdministration.page(parsePageArguments(args)),
  }),
)

const SetUserDisabledInput = builder.inputType('SetUserDisabledInput', {
  description: 'Whether somebody is shut out.',
  fields: (t) => ({
    id: t.globalID({ for: UserRef, required: true, description: 'Whose account.' }),
    disabled: t.boolean({ required: true, description: 'True: they are shut out; false: they may log in again.' }),
  }),
})

const UserPayload = builder.objectRef<{ user: User }>('UserPayload').implement({
  description: 'An account that was changed.',
  fields: (t) => ({ user: t.expose('user', { type: UserRef, description: 'As it is now.' }) }),
})

builder.mutationField('setUserDisabled', (t) =>
  t.field({
    type: UserPayload,
    authScopes: { admin: true },
    description:
      'Shuts an account out: its sessions end, its sockets are closed, its API keys are refused. Or lets it in again. For administrators; not for oneself.',
    args: { input: t.arg({ type: SetUserDisabledInput, required: true, description: 'Who, and whether.' }) },
    resolve: async (_root, { input: { id, disabled } }, context) => {
      const by = requireSession(context.viewer)
      const input = { id: id.id, disabled }
      return { user: await context.services.userAdministration.setDisabled(by, input, originOf(context)) }
    },
  }),
)
