import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { environmentSchema } from '../src/config.ts'

test('the README says of every variable what config.ts says', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const rows = readme.split('\n').filter((line) => line.startsWith('| `'))
  const table = rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )

  expect(table).toEqual(
    Object.entries(environmentSchema.shape).map(([name, schema]) => [
      `\`${name}\``,
      defaultOf(schema),
      schema.description,
    ]),
  )
})

function defaultOf(schema: z.ZodType): string {
  if (!(schema instanceof z.ZodDefault)) return ''
  const value = schema.def.defaultValue
  if (Array.isArray(value) && value.length > 0) return `\`${value.join(',')}\``
  return typeof value === 'string' || typeof value === 'number' ? `\`${value}\`` : ''
}
