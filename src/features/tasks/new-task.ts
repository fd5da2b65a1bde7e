import { z } from 'zod'
import { integerIn } from '../../lib/input-numbers.ts'
import { jsonValue, longText, nameText, shortText } from '../../lib/stored-text.ts'
import { agentLimits } from '../agents/agent-limits.ts'

/** What a task may be made of; sizes in bytes are of UTF-8. */
export const taskLimits = {
  nameLength: 200,
  inputBytes: 256 * 1024,
  priority: { min: -100, max: 100 },
  idempotencyKeyLength: 200,
  reasonLength: 500,
} as const

/** What a caller says of a new task; `null` and absent mean the same. */
export type CreateTaskInput = {
  /** The id of the row, not the global id. */
  agentId: string
  prompt: string
  name?: string | null | undefined
  input?: unknown
  priority?: number | null | undefined
  runAt?: Date | null | undefined
  maxAttempts?: number | null | undefined
  timeoutMs?: number | null | undefined
  idempotencyKey?: string | null | undefined
}

export function createTaskSchema({ maxPromptBytes }: { maxPromptBytes: number }) {
  return z.object({
    agentId: z.string(),
    prompt: longText(maxPromptBytes),
    name: nameText(taskLimits.nameLength).nullish(),
    input: jsonValue(taskLimits.inputBytes).optional(),
    priority: integerIn(taskLimits.priority).nullish(),
    runAt: z.date().nullish(),
    maxAttempts: integerIn(agentLimits.maxAttempts).nullish(),
    timeoutMs: integerIn(agentLimits.timeoutMs).nullish(),
    idempotencyKey: shortText(taskLimits.idempotencyKeyLength)
      .refine((key) => key !== '', 'must not be empty')
      .nullish(),
  })
}

export const cancelSchema = z.object({ id: z.string(), reason: shortText(taskLimits.reasonLength).nullish() })
