import { createFiring, type Firing } from '../features/schedules/firing.ts'
import { createScheduler, type Scheduler } from '../features/schedules/scheduler.ts'
import { createAnnouncer, type Announcer } from '../features/tasks/engine/announcer.ts'
import { createReconciler, type Reconciler } from '../features/tasks/engine/reconciler.ts'
import { createTransitions, type Transitions } from '../features/tasks/engine/transitions.ts'
import { createTaskPublisher, type TaskPublisher } from '../features/tasks/streams/task-publisher.ts'
import type { Basics } from './basics.ts'
import type { Platform } from './platform.ts'

export type TaskEngine = {
  transitions: Transitions
  announcer: Announcer
  reconciler: Reconciler
  publisher: TaskPublisher
  firing: Firing
  scheduler: Scheduler
}

export function createTaskEngine({ clock, newId, logger }: Basics, { db, events, dispatch }: Platform): TaskEngine {
  const transitions = createTransitions({ db })
  const publisher = createTaskPublisher({ events, logger })
  // Tied in a knot: a transition may lead to waiting for the reconciler, whose rounds make transitions.
  const onScheduled = (): void => reconciler.scheduled()
  const announcer = createAnnouncer({ publisher, dispatch, onScheduled, logger })
  const reconciler: Reconciler = createReconciler({ transitions, announcer, dispatch, clock, logger })
  const firing = createFiring({ db })
  const scheduler = createScheduler({ firing, announcer, newId, logger })
  return { transitions, announcer, reconciler, publisher, firing, scheduler }
}
