import { z } from 'zod'
import { withDefault } from '../../lib/input-numbers.ts'
import { longText, shortText, utf8Bytes } from '../../lib/stored-text.ts'
import { createModelParameters, type DefinitionChecks } from '../agents/model-parameters.ts'

/** How much conversation may come before the prompt. */
export const completionLimits = { messages: 200, keyCharacters: 200, cacheSeconds: 30 * 24 * 60 * 60 } as const

/** What a caller asks for; `null` and absent mean the same. */
export type CompletionInput = {
  /** The id of the row, not the global id; default: the personal workspace. */
  workspaceId?: string | null | undefined
  /** The user's next message, after `messages`; one of the two must be given. */
  prompt?: string | null | undefined
  /** The conversation so far. */
  messages?: readonly { role: 'SYSTEM' | 'USER' | 'ASSISTANT'; content: string }[] | null | undefined
  models?: readonly string[] | null | undefined
  temperature?: number | null | undefined
  maxOutputTokens?: number | null | undefined
  outputSchema?: unknown
  onInterrupt?: 'RESTART' | 'ERROR' | null | undefined
  cache?: CacheControlInput | null | undefined
  /** Makes it resumable. */
  key?: string | null | undefined
}

export type CacheControlInput = {
  ttlSeconds?: number | null | undefined
  maxAgeSeconds?: number | null | undefined
  forceRefresh?: boolean | null | undefined
  noStore?: boolean | null | undefined
}

export type CompletionChecks = DefinitionChecks & { maxPromptBytes: number }

export function createCompletionSchema({ maxPromptBytes, ...checks }: CompletionChecks) {
  const { models, temperature, maxOutputTokens, outputSchema } = createModelParameters(checks)
  const message = z.object({ role: z.enum(['SYSTEM', 'USER', 'ASSISTANT']), content: longText(maxPromptBytes) })
  return z
    .object({
      workspaceId: z.string().nullish(),
      prompt: longText(maxPromptBytes).nullish(),
      messages: withDefault(
        z.array(message).max(completionLimits.messages, `must be at most ${completionLimits.messages} messages`),
        [],
      ),
      models: withDefault(models, []),
      temperature: temperature.nullish(),
      maxOutputTokens: maxOutputTokens.nullish(),
      outputSchema: outputSchema.nullish(),
      cache: cacheControl.nullish(),
      key: shortText(completionLimits.keyCharacters)
        .refine((key) => key !== '', 'must not be empty')
        .nullish(),
      onInterrupt: withDefault(z.enum(['RESTART', 'ERROR']), 'RESTART'),
    })
    .refine(({ prompt, messages }) => typeof prompt === 'string' || messages.length > 0, {
      path: ['prompt'],
      error: 'must be given, or messages must be',
    })
    .refine(({ prompt, messages }) => totalBytes(prompt ?? '', messages) <= maxPromptBytes, {
      path: ['messages'],
      error: `must have, with the prompt, at most ${maxPromptBytes} bytes`,
    })
}

const seconds = z
  .int('must be a whole number')
  .min(0, 'must not be negative')
  .max(completionLimits.cacheSeconds, `must be at most ${completionLimits.cacheSeconds}`)
  .nullish()

const cacheControl = z.object({
  ttlSeconds: seconds,
  maxAgeSeconds: seconds,
  forceRefresh: z.boolean().nullish(),
  noStore: z.boolean().nullish(),
})

function totalBytes(prompt: string, messages: readonly { content: string }[]): number {
  return messages.reduce((bytes, { content }) => bytes + utf8Bytes(content), utf8Bytes(prompt))
}
