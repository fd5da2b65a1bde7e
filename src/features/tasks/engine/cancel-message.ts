import { z } from 'zod'

/** Where workers hear that a running task was asked to stop. A lost message is made up for by the next heartbeat. */
export const cancelTopic = 'tasks:cancel'

const cancelMessage = z.object({ taskIds: z.array(z.string()) })

export type CancelMessage = z.infer<typeof cancelMessage>

/** Null when it is none of ours: anybody who reaches Redis may publish on the topic, and a listener must not throw. */
export function parseCancelMessage(message: unknown): CancelMessage | null {
  return cancelMessage.safeParse(message).data ?? null
}
