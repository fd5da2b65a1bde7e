import { z } from 'zod'
import type { TaskStatus } from '../../generated/prisma/client.ts'
import { parseInput } from '../../lib/parse-input.ts'
import { shortText } from '../../lib/stored-text.ts'

/** What a caller may ask for. Absent and null ask for nothing; an empty list of statuses matches no task. */
export type TaskFilterInput = {
  status?: readonly TaskStatus[] | null | undefined
  agentId?: string | null | undefined
  createdAfter?: Date | null | undefined
  createdBefore?: Date | null | undefined
  search?: string | null | undefined
}

/** Which tasks; null: any. */
export type TaskFilter = {
  statuses: readonly TaskStatus[] | null
  agentId: string | null
  /** Created at this time or later. */
  createdAfter: Date | null
  /** Created before this time. */
  createdBefore: Date | null
  /** In the name or the prompt, whatever the case. */
  search: string | null
}

export const maxSearchLength = 200

const searchInput = z.object({ search: shortText(maxSearchLength).nullish() })

/** Reads a filter. Throws BadUserInputError naming `filter.search` when that is too long. */
export function parseTaskFilter(input: TaskFilterInput | null | undefined): TaskFilter {
  const { search } = parseInput(searchInput, { search: input?.search }, 'filter')
  return {
    statuses: input?.status == null ? null : [...new Set(input.status)].toSorted(),
    agentId: input?.agentId ?? null,
    createdAfter: input?.createdAfter ?? null,
    createdBefore: input?.createdBefore ?? null,
    search: search == null || search === '' ? null : search,
  }
}

/** The ILIKE pattern that finds `text` anywhere, itself and not as a pattern. */
export function containsPattern(text: string): string {
  return `%${text.replaceAll(/[\\%_]/g, '\\$&')}%`
}
