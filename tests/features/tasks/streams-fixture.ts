import { setImmediate as turn } from 'node:timers/promises'
import { newId } from '../../../src/lib/ids.ts'
import type { Database } from '../../../src/platform/database/database.ts'
import type { Viewer } from '../../../src/features/accounts/viewer.ts'
import type { FinishedOutput } from '../../../src/features/tasks/output/output-writer.ts'
import type { ClaimedRun } from '../../../src/features/tasks/engine/task-json.ts'
import type { TaskPublisher } from '../../../src/features/tasks/streams/task-publisher.ts'
import { createTransitions, type Transitions } from '../../../src/features/tasks/engine/transitions.ts'
import type { RunEnd } from '../../../src/features/tasks/engine/transition-input.ts'

/** A workspace with one member and one agent, and the transitions of its tasks, each published when it is committed. */
export type TaskFixture = {
  viewer: Viewer
  workspaceId: string
  agentId: string
  transitions: Transitions
  submit(agentId?: string): Promise<string>
  claim(ofAgentId?: string): Promise<ClaimedRun>
  /** Ends a run with what its writer handed back; false when the lease was lost. */
  end(run: ClaimedRun, outcome: RunEnd['outcome'], finished?: FinishedOutput): Promise<boolean>
  cancel(taskId: string): Promise<void>
  /** Lets the lease of a task run out, as after a crash, and has that repaired. */
  lose(taskId: string): Promise<void>
  /** Queues what is scheduled and due, and whatever else wants repair. */
  reconcile(): Promise<void>
  addAgent(): Promise<string>
}

const nothingPublished: TaskPublisher = { publish: async () => undefined, publishOutput: async () => undefined }

export async function createTaskFixture(db: Database, publisher = nothingPublished): Promise<TaskFixture> {
  const transitions = createTransitions({ db })
  const [userId, workspaceId, processId] = [newId(), newId(), newId()]
  await db.prisma.user.create({ data: { id: userId, email: `${userId}@example.com`, passwordHash: '-' } })
  await db.prisma.workspace.create({
    data: {
      id: workspaceId,
      name: 'Test',
      counter: { create: {} },
      members: { create: { id: newId(), userId, role: 'VIEWER' } },
    },
  })

  async function addAgent(): Promise<string> {
    const data = { id: newId(), workspaceId, name: 'Agent', instructions: '-', models: [], concurrency: 50 }
    const limits = { maxAttempts: 50, retryInitialDelayMs: 0, retryMaxDelayMs: 0, timeoutMs: 60_000 }
    return (await db.prisma.agent.create({ data: { ...data, ...limits } })).id
  }
  const agentId = await addAgent()
  /** Claims are for a workspace: what came of another agent is for whoever asks for that one. */
  const setAside: ClaimedRun[] = []

  async function reconcile(): Promise<void> {
    await publisher.publish(await transitions.reconcile({ cancelGraceMs: 60_000, limit: 100 }))
  }

  return {
    viewer: { userId, sessionId: newId(), role: 'USER' },
    workspaceId,
    agentId,
    transitions,
    addAgent,
    async submit(ofAgentId = agentId) {
      const id = newId()
      const owner = { id, workspaceId, agentId: ofAgentId, createdById: userId }
      const text = { name: null, prompt: 'Say something.', input: null, priority: 0, runAt: null }
      const limits = { maxAttempts: null, timeoutMs: null, idempotencyKey: null, idempotencyHash: null }
      const links = { dependsOn: [], onDependencyFailure: 'SKIP', scheduleId: null, scheduledFor: null } as const
      await publisher.publish(await transitions.create([{ ...owner, ...text, ...limits, ...links }]))
      return id
    },
    async claim(ofAgentId = agentId) {
      // Somebody else's transaction may have the task locked, and is then passed over.
      for (const deadlineMs = performance.now() + 5_000; performance.now() < deadlineMs; await turn()) {
        const claims = [{ workspaceId, leaseTokens: [newId()], again: false }]
        const step = await transitions.step({ ends: [], claims, processId, leaseMs: 60_000 })
        await publisher.publish(step.transitions)
        setAside.push(...step.claimed)
        const index = setAside.findIndex(({ agent }) => agent.id === ofAgentId)
        const [run] = index < 0 ? [] : setAside.splice(index, 1)
        if (run !== undefined) return run
      }
      throw new Error('there was nothing to claim within 5 s')
    },
    async end(run, outcome, finished = { segment: null, tail: null }) {
      const lease = { taskId: run.task.id, leaseToken: run.leaseToken }
      const rest = { reason: null, error: null, outputJson: null, model: null, timeToFirstTokenMs: null, calls: [] }
      const end: RunEnd = { ...lease, ...rest, outcome, retryDelayMs: 0, output: finished.segment }
      const step = await transitions.step({ ends: [end], claims: [], processId, leaseMs: 60_000 })
      const isFinal = step.transitions.some(({ task }) => task.finishedAt !== null)
      if (isFinal && finished.tail !== null) await publisher.publishOutput([finished.tail])
      await publisher.publish(step.transitions)
      return step.endedTaskIds.has(run.task.id)
    },
    reconcile,
    async lose(taskId) {
      await db.prisma.task.updateMany({
        where: { id: taskId, status: 'RUNNING' },
        data: { leaseExpiresAt: new Date(0) },
      })
      await reconcile()
    },
    async cancel(taskId) {
      await publisher.publish(await transitions.cancel([taskId], null))
    },
  }
}
