import { setImmediate as nextTurn } from 'node:timers/promises'
import { isOutage } from '../../../lib/errors.ts'

type New = { readonly id: string; readonly prompt: string }
type Created = { readonly task: { readonly id: string } }

/** Inserts tasks in one transaction, in the order given; those that are left out are missing from the answer. */
type Create<Task extends New, Transition extends Created> = (tasks: readonly Task[]) => Promise<Transition[]>

const maxTasksPerBatch = 64
const maxCharactersPerBatch = 4 * 1024 * 1024
/** One waits for the disk, and one works meanwhile. */
const maxUnderWay = 2

type Call<Task, Transition> = {
  tasks: readonly Task[]
  resolve: (created: Transition[]) => void
  reject: (error: unknown) => void
}

/**
 * Calls that come while others are under way share the next transaction; with nothing under way a call goes at once. All tasks of a workspace
 * number their events with one row, which a transaction keeps locked until it is on the disk: one by one, a workspace takes as many tasks a
 * second as the disk takes commits.
 */
export function batchCreates<Task extends New, Transition extends Created>(
  create: Create<Task, Transition>,
): Create<Task, Transition> {
  const waiting: Call<Task, Transition>[] = []
  let underWay = 0

  function wakeUp(): void {
    if (underWay >= maxUnderWay || waiting.length === 0) return
    underWay += 1
    void createWaiting().finally(() => {
      underWay -= 1
      wakeUp()
    })
  }

  async function createWaiting(): Promise<void> {
    // What is called in the same turn of the event loop shares a transaction.
    await nextTurn()
    while (waiting.length > 0) await createBatch(takeBatch(waiting))
  }

  async function createBatch(batch: readonly Call<Task, Transition>[]): Promise<void> {
    try {
      const created = await create(batch.flatMap(({ tasks }) => tasks))
      for (const { tasks, resolve } of batch) {
        const ids = new Set(tasks.map(({ id }) => id))
        resolve(created.filter(({ task }) => ids.has(task.id)))
      }
    } catch (error) {
      // One task that the database refuses must not sink the others.
      if (batch.length > 1 && !isOutage(error)) for (const call of batch) await createBatch([call])
      else for (const { reject } of batch) reject(error)
    }
  }

  return (tasks) =>
    new Promise((resolve, reject) => {
      waiting.push({ tasks, resolve, reject })
      wakeUp()
    })
}

function takeBatch<One extends { readonly tasks: readonly New[] }>(waiting: One[]): readonly One[] {
  let tasks = 0
  let characters = 0
  let calls = 0
  for (const call of waiting) {
    tasks += call.tasks.length
    for (const { prompt } of call.tasks) characters += prompt.length
    if (calls > 0 && (tasks > maxTasksPerBatch || characters > maxCharactersPerBatch)) break
    calls += 1
  }
  return waiting.splice(0, calls)
}
