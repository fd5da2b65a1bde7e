import { z } from 'zod'
import type { Events } from '../../platform/events/events.ts'
import type { Logger } from '../../platform/logger.ts'
import type { OutputDeltaRecord } from '../tasks/streams/task-messages.ts'

/** What is published on `completion:<id>`: text that is a row by now, and that the rows have something else to say. */
export type CompletionMessage =
  | { kind: 'delta'; segment: number; offset: number; text: string; model: string | null; reason: string | null }
  | { kind: 'ended' }

const count = z.int().nonnegative()
const message: z.ZodType<CompletionMessage> = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('delta'),
    segment: count,
    offset: count,
    text: z.string(),
    model: z.string().nullable(),
    reason: z.string().nullable(),
  }),
  z.object({ kind: z.literal('ended') }),
])

export const completionTopic = (id: string): string => `completion:${id}`

/** Null when it is none of ours. */
export function parseCompletionMessage(json: unknown): CompletionMessage | null {
  const parsed = message.safeParse(json)
  return parsed.success ? parsed.data : null
}

/** Tells readers what is in the rows. Never rejects: a lost message only delays whoever missed it. */
export interface CompletionPublisher {
  publishOutput(deltas: readonly OutputDeltaRecord[]): Promise<void>
  publishEnd(completionId: string): Promise<void>
}

export function createCompletionPublisher({ events, logger }: { events: Events; logger: Logger }): CompletionPublisher {
  async function publish(id: string, what: CompletionMessage): Promise<void> {
    try {
      await events.publish(completionTopic(id), what)
    } catch (error) {
      logger.debug(
        { err: error, completionId: id },
        'a message about a completion was lost; its readers look at the rows',
      )
    }
  }
  return {
    async publishOutput(deltas) {
      // All are handed over before the first is awaited: one connection keeps their order.
      await Promise.all(
        deltas.map(({ taskId, segment, offset, text, model, reason }) =>
          publish(taskId, { kind: 'delta', segment, offset, text, model, reason }),
        ),
      )
    },
    publishEnd: (id) => publish(id, { kind: 'ended' }),
  }
}
