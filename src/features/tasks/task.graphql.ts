import type { Task } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import type { GraphQLContext } from '../../graphql/context.ts'
import { inOrder } from '../../graphql/in-order.ts'
import { ModelAttemptRef } from '../usage/model-attempt.graphql.ts'
import { UsageRef } from '../usage/usage.graphql.ts'
import { workspacesOf } from '../workspaces/visible-workspaces.ts'
import { statusReason, type Surroundings } from './status-reason.ts'

export const TaskStatusRef = builder.enumType('TaskStatus', {
  description: 'Where a task is on its way. The last four are its end.',
  values: {
    BLOCKED: { description: 'It waits for other tasks.' },
    SCHEDULED: { description: 'It waits for its time: `runAt`, the next attempt, or a limit that frees up.' },
    QUEUED: { description: 'It waits for a free place.' },
    RUNNING: { description: 'It runs.' },
    SUCCEEDED: { description: 'It is done.' },
    FAILED: { description: 'It failed, and is not tried again.' },
    CANCELLED: { description: 'Somebody stopped it.' },
    SKIPPED: { description: 'A task that it depends on did not succeed.' },
  } as const,
})

export const DependencyFailurePolicyRef = builder.enumType('DependencyFailurePolicy', {
  description: 'What becomes of a task when one that it depends on fails, is cancelled or is skipped.',
  values: {
    SKIP: { description: 'It is skipped at once.' },
    CANCEL: { description: 'It is cancelled at once.' },
    RUN: { description: 'It runs when all of them have ended, and is told which have not succeeded.' },
  } as const,
})

const AttemptStatusRef = builder.enumType('AttemptStatus', {
  description: 'How one attempt went.',
  values: {
    RUNNING: { description: 'It runs.' },
    SUCCEEDED: { description: 'It gave the answer.' },
    FAILED: { description: 'It failed; the task may be tried again.' },
    CANCELLED: { description: 'Somebody stopped the task.' },
    LOST: { description: 'The process that ran it died.' },
    RELEASED: { description: 'The process that ran it was shut down and gave it back; it does not count.' },
  } as const,
})

type ErrorFacts = { code: string; message: string; retryable: boolean }

const TaskErrorRef = builder.objectRef<ErrorFacts>('TaskError').implement({
  description: 'Why a task or an attempt failed.',
  fields: (t) => ({
    code: t.exposeString('code', { description: 'What it was, for programs.' }),
    message: t.exposeString('message', { description: 'What it was, for people.' }),
    retryable: t.exposeBoolean('retryable', { description: 'Whether trying again may help.' }),
  }),
})

type ErrorColumns = Pick<Task, 'errorCode' | 'errorMessage' | 'errorRetryable'>

function errorFacts({ errorCode, errorMessage, errorRetryable }: ErrorColumns): ErrorFacts | null {
  if (errorCode === null) return null
  return { code: errorCode, message: errorMessage ?? '', retryable: errorRetryable ?? false }
}

builder.prismaObject('TaskAttempt', {
  description: 'One try to run a task.',
  fields: (t) => ({
    number: t.exposeInt('number', { description: 'Counts from 1, without holes.' }),
    status: t.expose('status', { type: AttemptStatusRef, description: 'How it went.' }),
    model: t.exposeString('model', {
      nullable: true,
      description: 'Who answered: "provider/model"; null until known.',
    }),
    agentVersion: t.exposeInt('agentVersion', { description: 'The version of the agent that it ran with.' }),
    modelAttempts: t.field({
      type: [ModelAttemptRef],
      description: 'The model calls it took, in their order.',
      select: { modelAttempts: { orderBy: [{ at: 'asc' }, { id: 'asc' }] } },
      resolve: ({ modelAttempts }) => modelAttempts,
    }),
    startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When it began.' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', nullable: true, description: 'When it ended.' }),
    timeToFirstTokenMs: t.exposeFloat('timeToFirstTokenMs', {
      nullable: true,
      description: 'From its start to the first text, in milliseconds.',
    }),
    error: t.field({ type: TaskErrorRef, nullable: true, description: 'Why it failed.', resolve: errorFacts }),
    usage: t.field({
      type: UsageRef,
      description: 'What its model calls have used.',
      resolve: ({ taskId, number }, _args, { loaders }) => loaders.attemptUsage.load({ taskId, number }),
    }),
  }),
})

/** Reads what the status of a task asks for, together with what is asked for other tasks. */
async function surroundingsOf(
  { id, status, agentId }: Pick<Task, 'id' | 'status' | 'agentId'>,
  { loaders, services }: GraphQLContext,
): Promise<Surroundings> {
  const blockers = status === 'BLOCKED' ? await loaders.taskBlockers.load(id) : null
  if (status !== 'QUEUED') return { blockers, agent: null, workers: null, ahead: null }
  const [agent, ahead, workers] = await Promise.all([
    loaders.agentLoad.load(agentId),
    loaders.tasksAhead.load(id),
    services.processes.workers(),
  ])
  return { blockers, agent, ahead, workers }
}

export const TaskRef = builder.prismaObject('Task', {
  description: 'Something that an agent is to do, once.',
  fields: (t) => ({
    workspace: t.relation('workspace', { description: 'Where it belongs.' }),
    agent: t.relation('agent', { description: 'Who does it.' }),
    createdBy: t.relation('createdBy', {
      nullable: true,
      description: 'Who asked for it; null when the account is gone.',
    }),
    name: t.exposeString('name', { nullable: true, description: 'What people call it.' }),
    prompt: t.string({
      description: 'What is asked.',
      select: { content: { select: { prompt: true } } },
      resolve: ({ content }) => content?.prompt ?? '',
    }),
    input: t.field({
      type: 'JSON',
      nullable: true,
      description: 'What is given with the prompt.',
      select: { content: { select: { input: true } } },
      resolve: ({ content }) => content?.input ?? null,
    }),
    priority: t.exposeInt('priority', { description: '−100 to 100, higher first; a point is worth 30 s of waiting.' }),
    status: t.expose('status', { type: TaskStatusRef, description: 'Where it is on its way.' }),
    statusReason: t.string({
      nullable: true,
      description: 'In words: why it does not run, or how it ended.',
      resolve: async (task, _args, context) => statusReason(task, await surroundingsOf(task, context)),
    }),
    version: t.exposeInt('version', { description: 'Rises by one with every change of its status.' }),
    onDependencyFailure: t.expose('onDependencyFailure', {
      type: DependencyFailurePolicyRef,
      description: 'What becomes of it when a task that it depends on does not succeed.',
    }),
    runAt: t.expose('runAt', { type: 'DateTime', nullable: true, description: 'Not before this time.' }),
    timeoutMs: t.exposeInt('timeoutMs', { description: 'How long one attempt may take, in milliseconds.' }),
    maxAttempts: t.exposeInt('maxAttempts', { description: 'How often it is tried in all.' }),
    attempt: t.exposeInt('attempt', { description: 'The number of its latest attempt; 0 before the first.' }),
    attemptsUsed: t.exposeInt('attemptsUsed', { description: 'How many attempts count towards `maxAttempts`.' }),
    attempts: t.relation('attempts', {
      description: 'Its attempts, in their order.',
      query: { orderBy: { number: 'asc' } },
    }),
    output: t.string({
      nullable: true,
      description: 'The text: so far while it runs, final when it has ended; null while there is none.',
      resolve: ({ id }, _args, { loaders }) => loaders.taskOutput.load(id),
    }),
    outputJson: t.field({
      type: 'JSON',
      nullable: true,
      description: 'The value that the text is, when its agent has an `outputSchema` and it succeeded.',
      select: { content: { select: { outputJson: true } } },
      resolve: ({ content }) => content?.outputJson ?? null,
    }),
    error: t.field({ type: TaskErrorRef, nullable: true, description: 'Why it failed.', resolve: errorFacts }),
    usage: t.field({
      type: UsageRef,
      description: 'What its model calls have used, in all attempts.',
      resolve: ({ id }, _args, { loaders }) => loaders.taskUsage.load(id),
    }),
    idempotencyKey: t.exposeString('idempotencyKey', { nullable: true, description: 'The key it was submitted with.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was submitted.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', description: 'When it last changed.' }),
    queuedAt: t.expose('queuedAt', { type: 'DateTime', nullable: true, description: 'When it was last queued.' }),
    startedAt: t.expose('startedAt', { type: 'DateTime', nullable: true, description: 'When it was last started.' }),
    finishedAt: t.expose('finishedAt', { type: 'DateTime', nullable: true, description: 'When it ended.' }),
  }),
})

builder.nodeRef(TaskRef, {
  id: { resolve: ({ id }: Task) => id },
  loadManyWithoutCache: async (ids: string[], { viewer, services }) => {
    if (viewer === null) return ids.map(() => null)
    const where = { id: { in: ids }, workspace: workspacesOf(viewer) }
    return inOrder(ids, await services.db.prisma.task.findMany({ where }))
  },
})
