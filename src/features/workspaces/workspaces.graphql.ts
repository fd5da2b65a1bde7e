import type { Workspace } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import { originOf } from '../../graphql/origin-of.ts'
import { requireViewer } from '../accounts/viewer.ts'
import { defaultWorkspaceOf, workspacesOf } from './visible-workspaces.ts'
import { WorkspaceRef } from './workspace.graphql.ts'

builder.queryField('workspace', (t) =>
  t.prismaField({
    type: WorkspaceRef,
    nullable: true,
    description: 'A workspace of the viewer; null when it does not exist or is not theirs.',
    args: {
      id: t.arg.globalID({ for: WorkspaceRef, description: 'Which one; default: the personal one, or the API key’s.' }),
    },
    resolve: (query, _root, { id }, context) => {
      const viewer = requireViewer(context.viewer)
      const where = { AND: [id == null ? defaultWorkspaceOf(viewer) : { id: id.id }, workspacesOf(viewer)] }
      return context.services.db.prisma.workspace.findFirst({ ...query, where })
    },
  }),
)

export const WorkspacePayload = builder.objectRef<{ workspace: Workspace }>('WorkspacePayload').implement({
  description: 'A workspace that was changed.',
  fields: (t) => ({
    workspace: t.expose('workspace', { type: WorkspaceRef, description: 'As it is now.' }),
  }),
})

const name = { required: true, description: 'Its name: 1 to 100 characters in one line.' } as const

const CreateWorkspaceInput = builder.inputType('CreateWorkspaceInput', {
  description: 'A new workspace.',
  fields: (t) => ({ name: t.string(name) }),
})

const UpdateWorkspaceInput = builder.inputType('UpdateWorkspaceInput', {
  description: 'A change of a workspace.',
  fields: (t) => ({
    id: t.globalID({ for: WorkspaceRef, required: true, description: 'Which workspace.' }),
    name: t.string(name),
  }),
})

builder.mutationFields((t) => ({
  createWorkspace: t.field({
    type: WorkspacePayload,
    description: 'Makes a workspace that the viewer owns.',
    args: { input: t.arg({ type: CreateWorkspaceInput, required: true, description: 'What to make.' }) },
    resolve: async (_root, { input }, context) => ({
      workspace: await context.services.workspaces.create(requireViewer(context.viewer), input, originOf(context)),
    }),
  }),
  updateWorkspace: t.field({
    type: WorkspacePayload,
    description: 'Renames a workspace; for its owners.',
    args: { input: t.arg({ type: UpdateWorkspaceInput, required: true, description: 'What to change.' }) },
    resolve: async (_root, { input }, context) => {
      const change = { id: input.id.id, name: input.name }
      return {
        workspace: await context.services.workspaces.update(requireViewer(context.viewer), change, originOf(context)),
      }
    },
  }),
}))
