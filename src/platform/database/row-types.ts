import pg from 'pg'

const { INT8, TIMESTAMP, DATE } = pg.types.builtins

/**
 * How hand-written queries read values: bigint as a number (and an error where a number cannot hold it, instead of a wrong
 * one), `timestamp` as UTC, `date` as its text. Set per pool: Prisma brings its own, and what is global belongs to nobody.
 */
export function createRowTypes(): pg.CustomTypesConfig {
  const types = new pg.TypeOverrides()
  types.setTypeParser(INT8, parseSafeInteger)
  types.setTypeParser(TIMESTAMP, (text: string) => new Date(`${text.replace(' ', 'T')}Z`))
  types.setTypeParser(DATE, (text: string) => text)
  return types
}

function parseSafeInteger(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new RangeError(`${text} does not fit a number: select it as text`)
  return value
}
