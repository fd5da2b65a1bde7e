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
  async function hint(workspaceIds: readonly string[]): Promise<void> {
    const hints = await Promise.allSettled(workspaceIds.map((workspaceId) => dispatch.hint(workspaceId)))
    const failed = hints.find((one) => one.status === 'rejected')
    if (failed !== undefined)
      logger.warn({ err: failed.reason, hints: hints.length }, 'hints were lost; the reconciler repairs that')
  }

  return {
    async announce(transitions, tails = [], readyWorkspaceIds = []) {
      const queued = transitions.filter(({ task }) => task.status === 'QUEUED').map(({ task }) => task.workspaceId)
      // Nobody waits for hints, and the work does: they go first.
      void hint([...new Set([...queued, ...readyWorkspaceIds])])
      if (transitions.some(({ task }) => task.status === 'SCHEDULED')) onScheduled()
      // Tails are handed over before the transitions: what a task ends with comes before its end.
      await Promise.all([publisher.publishOutput(tails), publisher.publish(transitions)])
    },
  }
}
