import {
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
  isSpecifiedScalarType,
  type GraphQLSchema,
} from 'graphql'
import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { createSchema, printedSchema } from '../../src/graphql/schema.ts'

const root = new URL('../../', import.meta.url)

test('schema.graphql is what the code says; `npm run schema` writes it', async () => {
  expect(await readFile(new URL('schema.graphql', root), 'utf8')).toBe(printedSchema())
})

test('the schema has every file of the features that adds to it', async () => {
  const source = await readFile(new URL('src/graphql/schema.ts', root), 'utf8')
  const files = await readdir(new URL('src/features/', root), { recursive: true })
  const adding = await Promise.all(
    files
      .filter((file) => file.endsWith('.graphql.ts'))
      .map(async (file) => ({ file, text: await readFile(new URL(`src/features/${file}`, root), 'utf8') })),
  )
  const reachable = [source, ...adding.map(({ text }) => text)].join('\n')
  const forgotten = adding
    .filter(({ text }) => text.includes('/builder.ts'))
    .filter(({ file }) => !reachable.includes(`/${file.split('/').at(-1)}'`))
  expect(forgotten.map(({ file }) => file)).toEqual([])
})

test('every type, field, argument and enum value says what it is', () => {
  expect([...undescribed(createSchema())]).toEqual([])
})

test('every mutation takes its arguments in one input, and answers with an object', () => {
  const fields = Object.values(createSchema().getMutationType()?.getFields() ?? {})
  const odd = fields.filter(
    ({ args, type }) => args.some(({ name }) => name !== 'input') || !/^\w+!$/.test(String(type)),
  )
  expect(odd.map(({ name }) => name)).toEqual([])
})

function* undescribed(schema: GraphQLSchema): Generator<string> {
  for (const type of Object.values(schema.getTypeMap())) {
    if (isIntrospectionType(type) || isSpecifiedScalarType(type)) continue
    if (!type.description) yield type.name
    if (isEnumType(type)) {
      for (const value of type.getValues()) if (!value.description) yield `${type.name}.${value.name}`
    } else if (isInputObjectType(type)) {
      for (const field of Object.values(type.getFields())) if (!field.description) yield `${type.name}.${field.name}`
    } else if (isObjectType(type) || isInterfaceType(type)) {
      for (const field of Object.values(type.getFields())) {
        if (!field.description) yield `${type.name}.${field.name}`
        for (const argument of field.args) {
          if (!argument.description) yield `${type.name}.${field.name}(${argument.name})`
        }
      }
    }
  }
}
