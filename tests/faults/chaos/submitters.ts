import { setTimeout as delay } from 'node:timers/promises'
import type { SeededRandom } from './seeded-random.ts'
import type { Session } from './session.ts'
import { promptOf, type Fate } from './upstream.ts'

/** A task that the API has accepted. */
export type Accepted = { id: string; label: string; fate: Fate }

export type SubmitterOptions = {
  name: string
  session: Session
  agentIds: readonly [string, ...string[]]
  random: SeededRandom
  /** It ends when this is aborted, and what it is about to submit is accepted. */
  signal: AbortSignal
  /** Between two submissions, on average. */
  gapMs: number
  onAccepted: (task: Accepted) => void
  onProblem: (problem: string) => void
}

const maxTasksPerGraph = 8
const createTaskGraph = `mutation ($input: CreateTaskGraphInput!) { createTaskGraph(input: $input) { tasks { id name } } }`
const createTask = `mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id name } } }`
const cancelTask = `mutation ($input: CancelTaskInput!) { cancelTask(input: $input) { task { id } } }`

type Draft = { key: string; fate: Fate; input: Record<string, unknown> }
type Submission = { operation: string; input: Record<string, unknown>; drafts: Draft[] }
type Submitted = { tasks: { id: string; name: string }[] }

/**
 * Submits tasks and graphs of tasks with idempotency keys, again and again until they are accepted, some of them twice; and cancels some. What
 * it submits depends on its numbers alone.
 */
export async function submitForAWhile(options: SubmitterOptions): Promise<void> {
  const { name, random, signal, gapMs } = options
  const followUps: Promise<void>[] = []
  for (let count = 1; !signal.aborted; count += 1) {
    const submission = draftSubmission(`${name}-${count}`, options)
    const wish = { isRepeated: random.chance(0.2), isCancelled: random.chance(0.08), afterMs: random.between(0, 4_000) }
    const pauseMs = random.between(gapMs / 2, gapMs * 1.5)
    const ids = await submit(submission, options)
    if (wish.isRepeated) followUps.push(repeat(submission, ids, options))
    const [id] = ids
    if (wish.isCancelled && id !== undefined) followUps.push(cancelLater(id, wish.afterMs, options))
    await delay(pauseMs, undefined, { signal }).catch(() => undefined)
  }
  await Promise.all(followUps)
}

async function submit({ operation, input, drafts }: Submission, options: SubmitterOptions): Promise<string[]> {
  const tasks = await ask(options.session, operation, input)
  drafts.forEach(({ key, fate }, index) => {
    const task = tasks[index]
    if (task?.name === key) options.onAccepted({ id: task.id, label: key, fate })
    else options.onProblem(`${key} was submitted, and ${task?.name ?? 'nothing'} accepted`)
  })
  return tasks.map(({ id }) => id)
}

async function repeat(submission: Submission, ids: readonly string[], options: SubmitterOptions): Promise<void> {
  const again = await ask(options.session, submission.operation, submission.input)
  if (again.map(({ id }) => id).join() !== ids.join())
    options.onProblem(`${submission.drafts[0]?.key} was submitted twice with one key, and there are two of it`)
}

async function cancelLater(id: string, afterMs: number, { session }: SubmitterOptions): Promise<void> {
  await delay(afterMs)
  await session.ask(cancelTask, { input: { id, reason: 'Not needed any more.' } })
}

async function ask(session: Session, operation: string, input: Record<string, unknown>): Promise<Submitted['tasks']> {
  const data = await session.ask<{ createTaskGraph?: Submitted; createTask?: { task: { id: string; name: string } } }>(
    operation,
    { input },
  )
  return data.createTaskGraph?.tasks ?? (data.createTask === undefined ? [] : [data.createTask.task])
}

function draftSubmission(name: string, { random, agentIds }: SubmitterOptions): Submission {
  const size = random.chance(0.4) ? 1 : random.between(2, maxTasksPerGraph)
  const drafts = Array.from({ length: size }, (_, index) => draftTask(`${name}.${index + 1}`, random, agentIds))
  const [first] = drafts
  if (size === 1 && first !== undefined)
    return { operation: createTask, input: { ...first.input, idempotencyKey: name }, drafts }
  const tasks = drafts.map(({ key, input }, index) => ({
    ...input,
    key,
    ...draftDependencies(drafts.slice(0, index), random),
  }))
  return { operation: createTaskGraph, input: { tasks, idempotencyKey: name }, drafts }
}

function draftTask(key: string, random: SeededRandom, agentIds: readonly [string, ...string[]]): Draft {
  const fate = draftFate(random)
  const isLater = random.chance(0.1)
  return {
    key,
    fate,
    input: {
      agentId: random.pick(agentIds),
      name: key,
      prompt: promptOf(key, fate),
      priority: random.between(-100, 100),
      ...(isLater && { runAt: new Date(Date.now() + random.between(0, 5_000)).toISOString() }),
    },
  }
}

function draftFate(random: SeededRandom): Fate {
  const draw = random.next()
  if (draw < 0.04) return 'refuses'
  if (draw < 0.07) return 'breaks-off-once'
  return draw < 0.1 ? 'is-busy-once' : 'answers'
}

/** Any of those before it: chains, diamonds, and tasks that wait for nothing. */
function draftDependencies(earlier: readonly Draft[], random: SeededRandom): Record<string, unknown> {
  const dependsOn = earlier.filter(() => random.chance(Math.min(0.6, 1.5 / earlier.length))).map(({ key }) => key)
  return { dependsOn, onDependencyFailure: random.pick(['SKIP', 'SKIP', 'CANCEL', 'RUN']) }
}
