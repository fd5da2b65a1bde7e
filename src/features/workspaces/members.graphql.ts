import type { WorkspaceMember } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { requireSession } from '../accounts/viewer.ts'
import { WorkspaceMemberRef, WorkspaceRef, WorkspaceRoleRef } from './workspace.graphql.ts'
import { WorkspacePayload } from './workspaces.graphql.ts'

const WorkspaceMemberPayload = builder.objectRef<{ member: WorkspaceMember }>('WorkspaceMemberPayload').implement({
  description: 'A member who came or was changed.',
  fields: (t) => ({ member: t.expose('member', { type: WorkspaceMemberRef, description: 'As they are now.' }) }),
})

const AddWorkspaceMemberInput = builder.inputType('AddWorkspaceMemberInput', {
  description: 'Somebody who is to come to a workspace.',
  fields: (t) => ({
    workspaceId: t.globalID({ for: WorkspaceRef, required: true, description: 'Which workspace.' }),
    email: t.string({ required: true, description: 'The e-mail of their account on this server.' }),
    role: t.field({ type: WorkspaceRoleRef, required: true, description: 'What they may do there.' }),
  }),
})

const SetWorkspaceMemberRoleInput = builder.inputType('SetWorkspaceMemberRoleInput', {
  description: 'Another role for a member.',
  fields: (t) => ({
    id: t.globalID({ for: WorkspaceMemberRef, required: true, description: 'Which member.' }),
    role: t.field({ type: WorkspaceRoleRef, required: true, description: 'What they may do from now on.' }),
  }),
})

const RemoveWorkspaceMemberInput = builder.inputType('RemoveWorkspaceMemberInput', {
  description: 'A member who is to leave.',
  fields: (t) => ({
    id: t.globalID({ for: WorkspaceMemberRef, required: true, description: 'Which member.' }),
  }),
})

builder.mutationFields((t) => ({
  addWorkspaceMember: t.field({
    type: WorkspaceMemberPayload,
    description: 'Lets somebody into a workspace who has an account on this server; for its owners.',
    args: { input: t.arg({ type: AddWorkspaceMemberInput, required: true, description: 'Who, where, as what.' }) },
    resolve: async (_root, { input }, context) => {
      const { workspaceId, ...rest } = input
      const fields = { ...rest, workspaceId: workspaceId.id }
      const viewer = requireSession(context.viewer)
      return { member: await context.services.members.add(viewer, fields, originOf(context)) }
    },
  }),
  setWorkspaceMemberRole: t.field({
    type: WorkspaceMemberPayload,
    description:
      'Changes what a member may do; for owners. The last owner, and whose personal workspace it is, stay OWNER.',
    args: { input: t.arg({ type: SetWorkspaceMemberRoleInput, required: true, description: 'Who, and as what.' }) },
    resolve: async (_root, { input: { id, role } }, context) => {
      const viewer = requireSession(context.viewer)
      return { member: await context.services.members.setRole(viewer, { id: id.id, role }, originOf(context)) }
    },
  }),
  removeWorkspaceMember: t.field({
    type: WorkspacePayload,
    description:
      'Takes a member out of a workspace, with their API keys there; for owners, and for everybody who wants to leave. Not the last owner, nor whose personal workspace it is.',
    args: { input: t.arg({ type: RemoveWorkspaceMemberInput, required: true, description: 'Who.' }) },
    resolve: async (_root, { input: { id } }, context) => {
      const viewer = requireSession(context.viewer)
      return { workspace: await context.services.members.remove(viewer, id.id, originOf(context)) }
    },
  }),
}))
