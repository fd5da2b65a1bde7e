import type { z } from 'zod'
import type { Agent, Task } from '../../generated/prisma/client.ts'
import { BadUserInputError, ConflictError, NotFoundError } from '../../lib/errors.ts'
import type { NewId } from '../../lib/ids.ts'
import { parseInput } from '../../lib/parse-input.ts'
import type { Database } from '../../platform/database/database.ts'
import type { Viewer } from '../accounts/viewer.ts'
import type { WorkspaceAccess } from '../workspaces/access.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import type { Announcer } from './engine/announcer.ts'
import { TaskLeftOutError, type Transitions } from './engine/transitions.ts'
import type { NewGraphKey, NewTask } from './engine/transition-input.ts'
import { assertGraphShape } from './graph-shape.ts'
import { hexOf, keyReusedError, requestHash } from './idempotency.ts'
import { createTaskGraphSchema, type CreateTaskGraphInput } from './new-task.ts'

/** Submitting tasks that depend on each other. */
export interface TaskGraphs {
  /**
   * Submits a graph, all of it or nothing; answers in the order given. All agents must be of one workspace. The same `idempotencyKey` with the
   * same input returns the tasks that are there; keys of graphs and of single tasks are apart.
   *
   * Throws BadUserInputError (with the path of a cycle in `details.cycle`), NotFoundError (no such agent of yours), ForbiddenError (a VIEWER),
   * ConflictError (an archived agent; a key that was used for something else).
   */
  create(viewer: Viewer, input: CreateTaskGraphInput): Promise<Task[]>
}

export type TaskGraphsDeps = {
  db: Database
  transitions: Pick<Transitions, 'createGraph'>
  announcer: Announcer
  access: WorkspaceAccess
  newId: NewId
  maxPromptBytes: number
}

export function createTaskGraphs(deps: TaskGraphsDeps): TaskGraphs {
  const { db, transitions, announcer, access, newId } = deps
  const schema = createTaskGraphSchema(deps)

  /** The one workspace of all these agents, in which the viewer may work. */
  async function findWorkspace(viewer: Viewer, agentIds: readonly string[]): Promise<string> {
    const where = { id: { in: [...new Set(agentIds)] }, workspace: workspacesOf(viewer) }
    const agents = new Map((await db.prisma.agent.findMany({ where })).map((agent) => [agent.id, agent]))
    const workspaceId = oneWorkspace(agentIds, agents)
    await access.require(viewer, workspaceId, 'MEMBER')
    const archived = agentIds.findIndex((id) => agents.get(id)?.status === 'ARCHIVED')
    if (archived !== -1) throw archivedError(`input.tasks.${archived}.agentId`)
    return workspaceId
  }

  async function findByKey({ workspaceId, idempotencyKey, idempotencyHash }: NewGraphKey): Promise<Task[]> {
    const where = { workspaceId_idempotencyKey: { workspaceId, idempotencyKey } }
    const graph = await db.prisma.taskGraph.findUniqueOrThrow({ where })
    if (hexOf(graph.idempotencyHash) !== idempotencyHash) throw keyReusedError()
    return findTasks(db, graph.taskIds)
  }

  return {
    async create(viewer, rawInput) {
      const input = parseInput(schema, rawInput)
      assertGraphShape(input.tasks)
      const agentIds = input.tasks.map(({ agentId }) => agentId)
      const workspaceId = await findWorkspace(viewer, agentIds)
      const key = graphKey(input, { id: newId(), workspaceId })
      const tasks = newTasks(input.tasks, { workspaceId, createdById: viewer.userId, newId })
      const created = await transitions.createGraph(tasks, key).catch((error: unknown) => {
        throw error instanceof TaskLeftOutError ? archivedError('input.tasks') : error
      })
      if (created.length === 0 && key !== null) return findByKey(key)
      await announcer.announce(created)
      return findTasks(
        db,
        tasks.map(({ id }) => id),
      )
    },
  }
}

type ParsedGraph = z.output<ReturnType<typeof createTaskGraphSchema>>

function graphKey(input: ParsedGraph, owner: { id: string; workspaceId: string }): NewGraphKey | null {
  const { idempotencyKey } = input
  return idempotencyKey == null ? null : { ...owner, idempotencyKey, idempotencyHash: requestHash(input) }
}

function newTasks(
  nodes: ParsedGraph['tasks'],
  { workspaceId, createdById, newId }: { workspaceId: string; createdById: string; newId: NewId },
): NewTask[] {
  const ids = new Map(nodes.map(({ key }) => [key, newId()]))
  const idOf = (key: string): string => ids.get(key) ?? key
  return nodes.map((node) => ({
    id: idOf(node.key),
    workspaceId,
    agentId: node.agentId,
    createdById,
    name: node.name ?? null,
    prompt: node.prompt,
    input: node.input ?? null,
    priority: node.priority ?? 0,
    runAt: node.runAt ?? null,
    maxAttempts: node.maxAttempts ?? null,
    timeoutMs: node.timeoutMs ?? null,
    idempotencyKey: null,
    idempotencyHash: null,
    dependsOn: (node.dependsOn ?? []).map(idOf),
    onDependencyFailure: node.onDependencyFailure ?? 'SKIP',
    scheduleId: null,
    scheduledFor: null,
  }))
}

async function findTasks(db: Database, ids: readonly string[]): Promise<Task[]> {
  const tasks = new Map(
    (await db.prisma.task.findMany({ where: { id: { in: [...ids] } } })).map((task) => [task.id, task]),
  )
  return ids.flatMap((id) => tasks.get(id) ?? [])
}

function oneWorkspace(agentIds: readonly string[], agents: ReadonlyMap<string, Agent>): string {
  const [first, ...others] = agentIds.map((id, index) => {
    const agent = agents.get(id)
    if (agent === undefined) throw new NotFoundError('agent', { details: { field: `input.tasks.${index}.agentId` } })
    return agent.workspaceId
  })
  const foreign = others.findIndex((workspaceId) => workspaceId !== first)
  const field = `input.tasks.${foreign + 1}.agentId`
  if (first === undefined || foreign !== -1)
    throw new BadUserInputError(field, `${field}: All agents of a graph must be of one workspace.`)
  return first
}

function archivedError(field: string): ConflictError {
  return new ConflictError('The agent is archived and takes no more tasks.', { details: { field } })
}
