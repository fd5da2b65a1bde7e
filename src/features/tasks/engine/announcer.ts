import type { Dispatch } from '../../../platform/dispatch/dispatch.ts'
import type { Logger } from '../../../platform/logger.ts'
import type { OutputDeltaRecord, TaskTransition } from '../streams/task-messages.ts'
import type { TaskPublisher } from '../streams/task-publisher.ts'

/** What follows from committed transitions: subscribers are told, queued tasks are hinted at, scheduled ones are waited for. */
export interface Announcer {
  /**
   * Never throws: the rows are the truth, and whoever missed this finds it there. `tails` are published first; `readyWorkspaceIds` are
   * hinted at beside the workspaces of queued tasks.
   */
  announce(
    transitions: readonly TaskTransition[],
    tails?: readonly OutputDeltaRecord[],
    readyWorkspaceIds?: readonly string[],
  ): Promise<void>
}

export type AnnouncerDeps = {
  publisher: TaskPublisher
  dispatch: Dispatch
  /** Called when a task will be due at a time. */
  onScheduled: () => void
  logger: Logger
}

export function createAnnouncer({ publisher, dispatch, onScheduled, logger }: AnnouncerDeps): Announcer {
  return {
    async announce(transitions, tails = [], readyWorkspaceIds = []) {
      await publisher.publishOutput(tails)
      await publisher.publish(transitions)
      if (transitions.some(({ task }) => task.status === 'SCHEDULED')) onScheduled()
      const queued = transitions.filter(({ task }) => task.status === 'QUEUED').map(({ task }) => task.workspaceId)
      const ready = new Set([...queued, ...readyWorkspaceIds])
      const hints = await Promise.allSettled([...ready].map((workspaceId) => dispatch.hint(workspaceId)))
      const failed = hints.find((hint) => hint.status === 'rejected')
      if (failed !== undefined)
        logger.warn({ err: failed.reason, hints: hints.length }, 'hints were lost; the reconciler repairs that')
    },
  }
}
