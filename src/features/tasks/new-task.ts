import { z } from 'zod'
import { DependencyFailurePolicy } from '../../generated/prisma/enums.ts'
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
  dependencies: 100,
  nodes: 1_000,
  keyLength: 100,
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
  /** Ids of rows of tasks that have to end first; what comes twice counts once. */
  dependsOn?: readonly string[] | null | undefined
  onDependencyFailure?: DependencyFailurePolicy | null | undefined
}

/** A task of a graph. It names those that it depends on by their keys. */
export type TaskNodeInput = Omit<CreateTaskInput, 'idempotencyKey'> & { key: string }

export type CreateTaskGraphInput = { tasks: readonly TaskNodeInput[]; idempotencyKey?: string | null | undefined }

type TextLimits = { maxPromptBytes: number }

export function createTaskSchema(limits: TextLimits) {
  return taskSchema(limits).extend({ idempotencyKey })
}

export function createTaskGraphSchema(limits: TextLimits) {
  const key = shortText(taskLimits.keyLength).refine((text) => text !== '', 'must not be empty')
  return z.object({
    tasks: z
      .array(taskSchema(limits).extend({ key }))
      .min(1, 'must have at least one task')
      .max(taskLimits.nodes, `must have at most ${taskLimits.nodes} tasks`),
    idempotencyKey,
  })
}

const idempotencyKey = shortText(taskLimits.idempotencyKeyLength)
  .refine((key) => key !== '', 'must not be empty')
  .nullish()

function taskSchema({ maxPromptBytes }: TextLimits) {
  return z.object({
    agentId: z.string(),
    prompt: longText(maxPromptBytes),
    name: nameText(taskLimits.nameLength).nullish(),
    input: jsonValue(taskLimits.inputBytes).optional(),
    priority: integerIn(taskLimits.priority).nullish(),
    runAt: z.date().nullish(),
    maxAttempts: integerIn(agentLimits.maxAttempts).nullish(),
    timeoutMs: integerIn(agentLimits.timeoutMs).nullish(),
    dependsOn: z
      .array(z.string())
      .max(taskLimits.dependencies, `must name at most ${taskLimits.dependencies} tasks`)
      .transform((names) => [...new Set(names)])
      .nullish(),
    onDependencyFailure: z.enum(DependencyFailurePolicy).nullish(),
  })
}

export const cancelSchema = z.object({ id: z.string(), reason: shortText(taskLimits.reasonLength).nullish() })
