import { z } from 'zod'

/** Where workers hear that a running task was asked to stop. A lost message is made up for by the next heartbeat. */
export const cancelTopic = 'tasks:cancel'

const cancelMessage = z.object({ taskIds: z.array(z.string()) })

export type CancelMessage = z.infer<typeof cancelMessage>

export function parseCancelMessage(message: unknown): CancelMessage {
  return cancelMessage.parse(message)
}
