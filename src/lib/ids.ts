import { v7, validate } from 'uuid'

/** Makes the ids of rows: UUIDv7 (RFC 9562), so that they sort by the time they were made. */
export type NewId = () => string

export const newId: NewId = v7

/** True for any UUID in its text form; what is not one must never reach a `uuid` column. */
export function isUuid(value: string): boolean {
  return validate(value)
}
