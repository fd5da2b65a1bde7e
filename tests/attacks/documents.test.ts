import { getIntrospectionQuery } from 'graphql'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApp, type TestApp, type TestUser } from '../support/test-app.ts'
import { attackSuite, post, type Attack } from './attack.ts'

// Documents that are made to cost more than they look.

let app: TestApp
let user: TestUser
beforeAll(async () => {
  app = await startTestApp({ env: { LIMIT_COST_PER_MINUTE: '100000000' } })
  user = await app.signUp()
})
afterAll(() => app[Symbol.asyncDispose]())

type Target = { app: TestApp; token: string }
const target = (): Target => ({ app, token: user.token })

const nest = (levels: number, inner: string): string =>
  `${'workspace { agents { edges { node { '.repeat(levels)}${inner}${' } } } }'.repeat(levels)}`

const logIn = (alias: string): string =>
  `${alias}: logIn(input: { email: "a@example.com", password: "guess-${alias}" }) { accessToken }`

const doubling = Array.from({ length: 30 }, (_, n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`).join(' ')

const refused = (limit: string) => ({
  status: 200,
  code: 'GRAPHQL_VALIDATION_FAILED',
  data: null,
  details: expect.objectContaining({ limit }),
})

const asked = (
  name: string,
  query: string,
  expected: Attack<Target>['expected'],
  variables?: unknown,
): Attack<Target> => ({
  name,
  send: ({ app: server, token }) => post(server, { query, variables }, { token }),
  expected,
})

attackSuite('a document', target, [
  asked('nests deeper than ten levels', `{ ${nest(3, 'id')} }`, refused('depth')),
  asked(
    'nests deeper than ten levels through fragments',
    `{ ...A } fragment A on Query { workspace { ...B } } fragment B on Workspace { ${'agents { edges { node { workspace { '.repeat(3)} id ${'} } } }'.repeat(3)} }`,
    refused('depth'),
  ),
  asked(
    'asks for one thing under sixteen names',
    `{ ${Array.from({ length: 8 }, (_, n) => `a${n}: viewer { b${n}: __typename }`).join(' ')} }`,
    refused('aliases'),
  ),
  asked(
    'asks for __typename under sixteen names',
    `{ viewer { ${Array.from({ length: 16 }, (_, n) => `a${n}: __typename`).join(' ')} } }`,
    refused('aliases'),
  ),
  asked('repeats a directive', `{ __typename ${'@include(if: true) '.repeat(9)} }`, refused('directives')),
  asked('repeats a directive that there is not', `{ __typename ${'@x'.repeat(900)} }`, refused('directives')),
  asked('asks for eleven things at once', `{ ${'viewer { user { id } } '.repeat(11)} }`, refused('rootFields')),
  asked(
    'asks for eleven things at once in fragments',
    `{ ${'...F '.repeat(11)} } fragment F on Query { viewer { user { id } } }`,
    refused('rootFields'),
  ),
  asked('asks for 501 fields', `{ viewer { user { ${'id '.repeat(501)} } } }`, refused('fields')),
  asked(
    'doubles itself thirty times',
    `{ ...F0 } ${doubling} fragment F30 on Query { __typename }`,
    refused('rootFields'),
  ),
  asked('has a fragment of itself', '{ ...F } fragment F on Query { ...F }', {
    code: 'GRAPHQL_VALIDATION_FAILED',
    data: null,
  }),
  asked('has more tokens than anybody writes', `{ ${'a '.repeat(2_100)} }`, {
    code: 'GRAPHQL_PARSE_FAILED',
    data: null,
  }),
  asked('has a megabyte of braces', '{a'.repeat(400_000), { code: 'GRAPHQL_PARSE_FAILED', data: null }),
  asked('nests a value a thousand times', `{ node(id: ${'['.repeat(900)}1${']'.repeat(900)}) { id } }`, {
    code: 'GRAPHQL_VALIDATION_FAILED',
    data: null,
  }),
  asked(
    'asks for the schema in circles',
    `{ __schema { types { ${'fields { type { '.repeat(6)} name ${'} } '.repeat(6)} } } }`,
    { code: 'GRAPHQL_VALIDATION_FAILED', data: null },
  ),
  asked(
    'asks for pages of pages',
    '{ agents(first: 100) { edges { node { tasks(first: 100) { edges { node { id } } } } } } }',
    refused('complexity'),
  ),
  asked(
    'hides the size of its pages in a variable',
    'query ($n: Int) { agents(first: $n) { edges { node { tasks(first: $n) { edges { node { id } } } } } } }',
    refused('complexity'),
    { n: 100 },
  ),
  asked(
    'hides the size of its pages in a default',
    'query ($n: Int = 100) { agents(first: $n) { edges { node { tasks(last: $n) { edges { node { id } } } } } } }',
    refused('complexity'),
  ),
  asked(
    'says no size of its pages',
    '{ agents { edges { node { tasks { edges { node { events { edges { node { version } } } } } } } } } }',
    refused('complexity'),
  ),
  asked(
    'hides pages of pages in a fragment',
    '{ agents(first: 100) { ...P } } fragment P on AgentConnection { edges { node { tasks(first: 100) { edges { node { id } } } } } }',
    refused('complexity'),
  ),
  asked('asks for a page of 101', '{ agents(first: 101) { edges { node { id } } } }', {
    code: 'BAD_USER_INPUT',
    details: { field: 'first' },
  }),
  asked('asks for a page of less than nothing', '{ agents(first: -1) { edges { node { id } } } }', {
    code: 'BAD_USER_INPUT',
    details: { field: 'first' },
  }),
  asked(
    'asks for 101 ids',
    'query ($ids: [ID!]!) { nodes(ids: $ids) { id } }',
    { code: 'BAD_USER_INPUT', details: expect.objectContaining({ field: 'ids' }) },
    { ids: Array.from({ length: 101 }, () => 'VGFzazow') },
  ),
  asked('guesses a password twice', `mutation { ${logIn('a')} ${logIn('b')} }`, refused('credentials')),
  asked(
    'guesses a password twice, in fragments',
    `mutation { ...A ...B } fragment A on Mutation { ${logIn('a')} } fragment B on Mutation { ${logIn('b')} }`,
    refused('credentials'),
  ),
  asked('guesses the name of a field', '{ viewr { user { id } } }', {
    message: 'Cannot query field "viewr" on type "Query".',
  }),
  asked('guesses a value', '{ tasks(filter: { status: [QUEUD] }) { edges { node { id } } } }', {
    message: 'Expected a value of type "TaskStatus!".',
  }),
  asked(
    'echoes a secret in a variable',
    'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }',
    { code: 'BAD_USER_INPUT', message: expect.not.stringContaining('hunter2') },
    { input: { email: 'a@example.com', password: ['hunter2', 'hunter2'] } },
  ),
])

test('the introspection that tools send is no attack', async () => {
  const { data } = await post(app, {
    query: getIntrospectionQuery({ descriptions: true, inputValueDeprecation: true }),
  })
  expect(data).toHaveProperty('__schema')
})

test('the cost of an operation is in its answer', async () => {
  const { text } = await post(
    app,
    { query: '{ agents(first: 50) { edges { node { id name } } } }' },
    { token: user.token },
  )
  expect(JSON.parse(text)).toMatchObject({
    // agents, and 50 times edges, node, id and name.
    extensions: {
      cost: { requested: 201, maximum: 5_000, remaining: expect.any(Number), resetMs: expect.any(Number) },
    },
  })
})
