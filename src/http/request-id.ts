import type { NewId } from '../lib/ids.ts'

const sane = /^[A-Za-z0-9._-]{1,128}$/

/** The caller's `x-request-id` when it is harmless in a log line and in a header; a new id otherwise. */
export function requestIdOf(header: string | string[] | undefined, newId: NewId): string {
  return typeof header === 'string' && sane.test(header) ? header : newId()
}
