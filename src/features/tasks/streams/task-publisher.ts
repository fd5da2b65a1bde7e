import type { Events } from '../../../platform/events/events.ts'
import type { Logger } from '../../../platform/logger.ts'
import {
  taskTopic,
  workspaceTopic,
  type OutputDeltaRecord,
  type TaskMessage,
  type TaskTransition,
} from './task-messages.ts'

/**
 * Tells subscribers what is in the rows by now. Neither method ever rejects: a lost message only delays whoever missed it, because
 * readers close gaps from the rows.
 */
export interface TaskPublisher {
  /** Publishes committed transitions in the order given, each to its task's topic and to its workspace's. */
  publish(transitions: readonly TaskTransition[]): Promise<void>
  /** Publishes committed output in the order given. What ends with a transition goes before it. */
  publishOutput(deltas: readonly OutputDeltaRecord[]): Promise<void>
}

export function createTaskPublisher({ events, logger }: { events: Events; logger: Logger }): TaskPublisher {
  /** How many messages were lost since publishing began to fail; 0: it works. A broken line is logged once, not per message. */
  let lost = 0

  async function publishAll(messages: readonly { topic: string; message: TaskMessage }[]): Promise<void> {
    // All are handed over before the first is awaited: one connection keeps their order.
    const results = await Promise.allSettled(messages.map(({ topic, message }) => events.publish(topic, message)))
    for (const result of results) {
      if (result.status === 'rejected') {
        if (lost === 0) logger.warn({ err: result.reason }, 'publishing fails; subscribers catch up from the rows')
        lost += 1
      } else if (lost > 0) {
        logger.info({ lost }, 'publishing works again')
        lost = 0
      }
    }
  }

  return {
    publish(transitions) {
      return publishAll(
        transitions.flatMap((transition) => {
          const message: TaskMessage = { kind: 'event', transition }
          return [
            { topic: taskTopic(transition.event.taskId), message },
            { topic: workspaceTopic(transition.event.workspaceId), message },
          ]
        }),
      )
    },
    publishOutput(deltas) {
      return publishAll(deltas.map((delta) => ({ topic: taskTopic(delta.taskId), message: { kind: 'delta', delta } })))
    },
  }
}
