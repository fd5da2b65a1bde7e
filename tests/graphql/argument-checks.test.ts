import { afterAll, describe, expect, test } from 'vitest'
import '../support/graphql-test-fields.ts'
import { startTestApp } from '../support/test-app.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())

const base64 = (text: string): string => Buffer.from(text).toString('base64')
const uuid = '01890a5d-ac96-774b-bcce-b302099a8057'
const personId = base64(`TestPerson:${uuid}`)
const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) })

const echo = 'query ($input: TestInput, $id: ID, $count: Int! = 1) { testEcho(input: $input, id: $id, count: $count) }'
const people = `query ($first: Int, $after: String, $last: Int, $before: String) {
  testPeople(first: $first, after: $after, last: $last, before: $before) { edges { cursor node { email } } }
}`
const node = 'query ($id: ID!) { node(id: $id) { id } }'
const nodes = 'query ($ids: [ID!]!) { nodes(ids: $ids) { id } }'

type Case = { name: string; document: string; variables: Record<string, unknown>; field: string; message: string }

const notAnId = 'This is not an id of this API.'
const notACursor = 'This is not a cursor of this list.'
const nul = 'The character NUL is not allowed.'

const cases: Case[] = [
  { name: 'text that is no id', document: echo, variables: { id: 'x' }, field: 'id', message: notAnId },
  { name: 'a bare UUID', document: echo, variables: { id: uuid }, field: 'id', message: notAnId },
  { name: 'an empty id', document: echo, variables: { id: '' }, field: 'id', message: notAnId },
  {
    name: 'an id without a UUID',
    document: echo,
    variables: { id: base64("TestPerson:' OR 1=1") },
    field: 'id',
    message: notAnId,
  },
  {
    name: 'an id written in another base64',
    document: echo,
    variables: { id: personId.replaceAll('=', '') },
    field: 'id',
    message: notAnId,
  },
  {
    name: "another type's id",
    document: echo,
    variables: { id: base64(`User:${uuid}`) },
    field: 'id',
    message: 'This is not the id of a TestPerson.',
  },
  {
    name: 'a wrong id inside an input',
    document: echo,
    variables: { input: { personId: 'x' } },
    field: 'input.personId',
    message: notAnId,
  },
  {
    name: 'a wrong id inside a nested input',
    document: echo,
    variables: { input: { nested: { role: 'a', personId: 'x' } } },
    field: 'input.nested.personId',
    message: notAnId,
  },
  {
    name: 'a wrong id in a list',
    document: echo,
    variables: { input: { personIds: [personId, 'x'] } },
    field: 'input.personIds.1',
    message: notAnId,
  },
  {
    name: 'more than 100 ids',
    document: echo,
    variables: { input: { personIds: Array.from({ length: 101 }, () => personId) } },
    field: 'input.personIds',
    message: 'At most 100 ids.',
  },
  { name: 'node with no id', document: node, variables: { id: 'x' }, field: 'id', message: notAnId },
  {
    name: 'node with a type that is no node',
    document: node,
    variables: { id: base64(`Viewer:${uuid}`) },
    field: 'id',
    message: notAnId,
  },
  {
    name: 'node with an unknown type',
    document: node,
    variables: { id: base64(`Nobody:${uuid}`) },
    field: 'id',
    message: notAnId,
  },
  {
    name: 'node with a type of JavaScript',
    document: node,
    variables: { id: base64(`__proto__:${uuid}`) },
    field: 'id',
    message: notAnId,
  },
  { name: 'nodes with one wrong id', document: nodes, variables: { ids: ['x'] }, field: 'ids.0', message: notAnId },
  {
    name: 'more than 100 nodes',
    document: nodes,
    variables: { ids: Array.from({ length: 101 }, () => personId) },
    field: 'ids',
    message: 'At most 100 ids.',
  },
  {
    name: 'a negative page',
    document: people,
    variables: { first: -1 },
    field: 'first',
    message: 'It must be between 0 and 100.',
  },
  {
    name: 'too large a page',
    document: people,
    variables: { last: 101 },
    field: 'last',
    message: 'It must be between 0 and 100.',
  },
  {
    name: 'a page in two directions',
    document: people,
    variables: { first: 1, last: 1 },
    field: 'last',
    message: 'It cannot be combined with "first".',
  },
  {
    name: 'a cursor of the other direction',
    document: people,
    variables: { first: 1, before: base64(`GPC:S:${uuid}`) },
    field: 'before',
    message: 'It cannot be combined with "first".',
  },
  { name: 'text that is no cursor', document: people, variables: { after: 'x' }, field: 'after', message: notACursor },
  {
    name: 'a cursor that names no row',
    document: people,
    variables: { after: base64('GPC:S:nobody') },
    field: 'after',
    message: notACursor,
  },
  {
    name: 'a cursor of another kind',
    document: people,
    variables: { before: base64('GPC:N:5') },
    field: 'before',
    message: notACursor,
  },
  {
    name: 'a cursor with JSON in it',
    document: people,
    variables: { after: base64('GPC:J:{"id":{"not":""}}') },
    field: 'after',
    message: notACursor,
  },
  {
    name: 'NUL in text',
    document: echo,
    variables: { input: { name: 'a\0b' } },
    field: 'input.name',
    message: nul,
  },
  {
    name: 'NUL inside JSON',
    document: echo,
    variables: { input: { json: { a: ['\0'] } } },
    field: 'input.json.a.0',
    message: nul,
  },
  {
    name: 'NUL in a key of JSON',
    document: echo,
    variables: { input: { json: { 'a\0': 1 } } },
    field: 'input.json',
    message: nul,
  },
  {
    name: 'JSON too deep',
    document: echo,
    variables: { input: { json: deep(33) } },
    field: 'input.json',
    message: 'JSON may be at most 32 levels deep.',
  },
  {
    name: 'the year 0',
    document: echo,
    variables: { input: { at: '0000-01-01T00:00:00Z' } },
    field: 'input.at',
    message: 'The year must be between 0001 and 9999.',
  },
]

test.each(cases)('refuses $name, naming the argument', async ({ document, variables, field, message }) => {
  const { token } = await user
  const { data, errors } = await app.graphql(document, variables, { token })
  expect(data?.['testEcho'] ?? null).toBeNull()
  expect(errors).toHaveLength(1)
  expect(errors?.[0]).toMatchObject({
    message: `${field}: ${message}`,
    extensions: { code: 'BAD_USER_INPUT', details: { field, problems: [{ field, message }] } },
  })
})

const user = app.signUp()

test('says all that is wrong at once', async () => {
  const input = { name: 'a', short: 'abcd', personId: null }
  const { errors } = await app.graphql(echo, { input })
  expect(errors?.map(({ extensions }) => extensions)).toMatchObject([
    {
      code: 'BAD_USER_INPUT',
      details: {
        field: 'input.name',
        problems: [
          { field: 'input.name', message: 'At least two characters.' },
          { field: 'input.short', message: 'At most three characters.' },
        ],
      },
    },
  ])
})

test.each([
  ['__proto__', '{"__proto__": {"admin": true}}'],
  ['constructor.prototype', '{"constructor": {"prototype": {"admin": true}}}'],
  ['a nested __proto__', '{"a": [{"__proto__": null}]}'],
])('refuses JSON with %s', async (_name, json) => {
  const response = await app.request('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: `{"query": ${JSON.stringify(echo)}, "variables": {"input": {"json": ${json}}}}`,
  })
  expect(await response.json()).toMatchObject({
    errors: [{ extensions: { code: 'BAD_USER_INPUT', details: { field: 'input.json' } } }],
  })
})

test('takes JSON as it is, in variables and in the document', async () => {
  const json = { prototype: 'v2', constructor: 'ACME', list: [1, 'two', null, { deep: true }] }
  expect(await app.data(echo, { input: { json } })).toEqual({ testEcho: { input: { json }, count: 1 } })
  const literal = '{ testEcho(input: { json: { prototype: "v2", list: [1, null, { deep: true }] } }) }'
  expect(await app.data(literal)).toEqual({
    testEcho: { input: { json: { prototype: 'v2', list: [1, null, { deep: true }] } }, count: 1 },
  })
})

test('hands an id on as its type and UUID', async () => {
  expect(await app.data(echo, { id: personId })).toEqual({
    testEcho: { id: { typename: 'TestPerson', id: uuid }, count: 1 },
  })
})

describe('a list', () => {
  const emails = async (variables: Record<string, unknown>): Promise<{ cursor: string; node: { email: string } }[]> => {
    const { testPeople } = await app.data<{
      testPeople: { edges: { cursor: string; node: { email: string } }[] }
    }>(people, variables)
    return testPeople.edges
  }

  test('goes on after a cursor that it gave, and back before it', async () => {
    await user
    const second = await app.signUp()
    const third = await app.signUp()
    const [first] = await emails({ first: 1 })
    const next = await emails({ first: 2, after: first?.cursor })
    expect(next.map(({ node: { email } }) => email)).toEqual([second.email, third.email])
    const back = await emails({ last: 1, before: next[0]?.cursor })
    expect(back).toEqual([first])
  })

  test('answers an empty page to a cursor of a row that is gone', async () => {
    expect(await emails({ after: base64(`GPC:S:${uuid}`) })).toEqual([])
  })
})

test('answers null to a well-formed id that does not exist', async () => {
  const { token } = await user
  const id = base64(`User:${uuid}`)
  expect(await app.data(node, { id }, { token })).toEqual({ node: null })
  expect(await app.data(nodes, { ids: [id, id] }, { token })).toEqual({ nodes: [null, null] })
})
