import { builder } from '../../graphql/builder.ts'
import { parsePageArguments } from '../../lib/keyset-page.ts'
import { UserRef } from '../accounts/accounts.graphql.ts'
import type { AuditEntry } from './audit-log.ts'

const AuditEventRef = builder.objectRef<AuditEntry>('AuditEvent').implement({
  description: 'Something that was done, and by whom. It is written together with what it records, and never changed.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'Names the event; not a global id.' }),
    at: t.expose('at', { type: 'DateTime', description: 'When.' }),
    actor: t.field({
      type: UserRef,
      nullable: true,
      description: 'Who did it; null when nobody was signed in, or it was done on the server itself.',
      resolve: ({ actor }) => actor,
    }),
    action: t.exposeString('action', { description: 'What to, and what: `user.signed_up`.' }),
    target: t.exposeString('target', { nullable: true, description: 'The row’s id of what it was done to.' }),
    ip: t.exposeString('ip', { nullable: true, description: 'The address that it came from.' }),
    requestId: t.exposeString('requestId', { nullable: true, description: 'The request, as the log names it.' }),
    details: t.expose('details', {
      type: 'JSON',
      nullable: true,
      description: 'Facts; never a password, token, key, prompt or e-mail.',
    }),
  }),
})

const AuditEventConnection = builder.connectionObject({ type: AuditEventRef, name: 'AuditEventConnection' })

// Not `t.connection`, which would add arguments for going backward.
builder.queryField('auditLog', (t) =>
  t.field({
    type: AuditEventConnection,
    authScopes: { admin: true },
    description: 'What was done on this server, the newest first; for administrators.',
    extensions: { ownCursor: true },
    args: {
      first: t.arg.int({ description: 'How many, at most 100; default 20.' }),
      after: t.arg.string({ description: 'Only what comes after this cursor.' }),
    },
    resolve: (_root, args, { services }) => services.auditLog.page(parsePageArguments(args)),
  }),
)
