import { afterAll, describe, expect, test } from 'vitest'
import type { GraphQLAnswer, GraphQLErrorJson } from '../support/graphql-client.ts'
import { secretOfBug } from '../support/graphql-test-fields.ts'
import { startTestApp } from '../support/test-app.ts'

const app = await startTestApp({ env: { NODE_ENV: 'development' } })
afterAll(() => app[Symbol.asyncDispose]())

const secret = 'correct-horse-battery-staple'

type Case = {
  name: string
  document: string
  variables?: Record<string, unknown>
  code: string
  message: string
  details?: Record<string, unknown>
}

/** Refused before execution: the same over every transport. */
const refusals: Case[] = [
  { name: 'no document', document: '#', code: 'GRAPHQL_PARSE_FAILED', message: 'Syntax Error: Unexpected <EOF>.' },
  {
    name: 'a syntax error',
    document: `{ testEcho("${secret}") }`,
    code: 'GRAPHQL_PARSE_FAILED',
    message: 'Syntax Error: Expected Name, found String.',
  },
  {
    name: 'a document too large to be anything but an attack',
    document: '{a'.repeat(100_000),
    code: 'GRAPHQL_PARSE_FAILED',
    message: 'Syntax Error: Document contains more that 2000 tokens. Parsing aborted.',
  },
  {
    name: 'an unknown field, without guessing another',
    document: '{ testOpn }',
    code: 'GRAPHQL_VALIDATION_FAILED',
    message: 'Cannot query field "testOpn" on type "Query".',
  },
  {
    name: 'a value of the wrong type in the document',
    document: `{ testEcho(count: "${secret}") }`,
    code: 'GRAPHQL_VALIDATION_FAILED',
    message: 'Expected a value of type "Int!".',
  },
  {
    name: 'an unknown enum value in the document',
    document: `subscription { completion(input: { prompt: "a", onInterrupt: RESTAR }) { __typename } }`,
    code: 'GRAPHQL_VALIDATION_FAILED',
    message: 'Expected a value of type "InterruptPolicy".',
  },
  {
    name: 'a field that is missing in the document',
    document: '{ testEcho(input: { nested: {} }) }',
    code: 'GRAPHQL_VALIDATION_FAILED',
    message: 'Field "TestNestedInput.role" of required type "String!" was not provided.',
  },
  {
    name: 'a variable of the wrong type',
    document: 'query ($count: Int!) { testEcho(count: $count) }',
    variables: { count: secret },
    code: 'BAD_USER_INPUT',
    message: 'count: Expected a value of type "Int".',
    details: { field: 'count', problems: [{ field: 'count', message: 'Expected a value of type "Int".' }] },
  },
  {
    name: 'a variable that is missing',
    document: 'query ($count: Int!) { testEcho(count: $count) }',
    code: 'BAD_USER_INPUT',
    message: 'count: A value of type "Int!" is required.',
    details: { field: 'count', problems: [{ field: 'count', message: 'A value of type "Int!" is required.' }] },
  },
  {
    name: 'wrong fields inside a variable, all of them',
    document: 'query ($input: TestInput) { testEcho(input: $input) }',
    variables: {
      input: { name: { password: secret }, at: secret, personIds: ['a', null], nested: {}, [secret.slice(0, 7)]: 1 },
    },
    code: 'BAD_USER_INPUT',
    message: [
      'input.at: Expected a value of type "DateTime".',
      'input.name: Expected a value of type "String".',
      'input.nested.role: A value of type "String!" is required.',
      'input.personIds.1: A value of type "ID!" is required.',
      'input.correct: "TestInput" has no such field.',
    ].join('; '),
  },
  {
    name: 'an operation that is not in the document',
    document: 'query A { testOpen } query B { testOpen }',
    code: 'BAD_USER_INPUT',
    message: 'Name one operation of the document.',
    details: { field: 'operationName' },
  },
]

/** Thrown by a resolver. */
const failures: Case[] = [
  { name: 'a bug, masked', document: '{ testBug }', code: 'INTERNAL_SERVER_ERROR', message: masked() },
  {
    name: 'an answer that does not fit its type, masked',
    document: '{ testUnserializable }',
    code: 'INTERNAL_SERVER_ERROR',
    message: masked(),
  },
  {
    name: 'a database that went away',
    document: '{ testNoDatabase }',
    code: 'SERVICE_UNAVAILABLE',
    message: 'The database cannot be reached.',
  },
  {
    name: 'an error of ours, as it is',
    document: '{ testConflict }',
    code: 'CONFLICT',
    message: 'It is taken.',
    details: { field: 'name' },
  },
  {
    name: 'a field that needs an account',
    document: '{ testClosed }',
    code: 'UNAUTHENTICATED',
    message: 'You are not signed in.',
  },
  {
    name: 'null in the place of an argument',
    document: 'query ($count: Int = 2) { testEcho(count: $count) }',
    variables: { count: null },
    code: 'BAD_USER_INPUT',
    message: 'count: It must be given and not null.',
    details: { field: 'count' },
  },
]

const transports: { name: string; ask: (query: Case) => Promise<GraphQLAnswer<unknown>> }[] = [
  { name: 'JSON', ask: ({ document, variables }) => app.graphql(document, variables) },
  {
    name: 'Server-Sent Events',
    ask: ({ document, variables }) => first(app.subscribe(document, variables, { over: 'event-stream' })),
  },
  { name: 'WebSocket', ask: ({ document, variables }) => overWebSocket(document, variables) },
]

describe.each(transports)('over $name', ({ ask }) => {
  test.each([...refusals, ...failures])('tells $name', async (query) => {
    const { errors = [] } = await ask(query)
    expect(errors).toHaveLength(1)
    const [error] = errors
    expect(error).toMatchObject({ message: query.message, extensions: { code: query.code, ...detailsOf(query) } })
    expect(Object.keys(error?.extensions ?? {}).toSorted()).toEqual([
      'code',
      'details',
      'requestId',
      'suggestions',
      'timestamp',
    ])
    expect(error?.extensions.suggestions).not.toEqual([])
    expect(new Date(error?.extensions.timestamp ?? '').getTime()).toBeGreaterThan(Date.now() - 60_000)
    expect(error?.extensions.requestId).toMatch(/^[A-Za-z0-9._-]{1,128}$/)
    expect(JSON.stringify(error)).not.toContain(secret)
    expect(JSON.stringify(error)).not.toContain(secretOfBug)
    expect(JSON.stringify(error)).not.toMatch(/stack|node_modules|Did you mean/)
    if (query.code === 'INTERNAL_SERVER_ERROR') {
      const line = app.logs.takeError('an operation failed unexpectedly')
      expect(line).toMatchObject({ requestId: error?.extensions.requestId, err: { stack: expect.any(String) } })
    }
  })
})

test('logs a bug once, with its stack and where it happened', async () => {
  await app.graphql('{ testBug }')
  const line = app.logs.takeError('an operation failed unexpectedly')
  expect(line).toMatchObject({ path: 'testBug', err: { message: secretOfBug, stack: expect.stringContaining('at ') } })
  app.logs.assertNoErrors()
})

test('keeps the part of an answer that could be given', async () => {
  const { data, errors } = await app.graphql('{ testOpen testConflict }')
  expect(data).toEqual({ testOpen: 'open', testConflict: null })
  expect(errors?.[0]).toMatchObject({ path: ['testConflict'], locations: [{ line: 1, column: 12 }] })
})

test('tells those who are signed in but may not', async () => {
  await app.signUp()
  const { token } = await app.signUp()
  const { errors } = await app.graphql('{ testAdmin }', {}, { token })
  expect(errors).toMatchObject([{ message: 'This is for administrators.', extensions: { code: 'FORBIDDEN' } }])
})

describe.each(['websocket', 'event-stream'] as const)('a subscription over %s', (over) => {
  const results = async (document: string): Promise<GraphQLAnswer<unknown>[]> => {
    const all: GraphQLAnswer<unknown>[] = []
    for await (const result of app.subscribe(document, {}, { over })) all.push(result)
    return all
  }

  test('tells what refuses it, in the same form', async () => {
    const [result] = await results('subscription { testRefused }')
    expect(result?.errors).toMatchObject([
      { message: 'There is no such thing.', path: ['testRefused'], extensions: { code: 'NOT_FOUND' } },
    ])
  })

  test('runs nothing for those who are not signed in', async () => {
    const [result] = await results('subscription { testPrivateTicks }')
    expect(result?.errors).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
  })

  test('ends with an error when its source breaks', async () => {
    const [tick, end, ...more] = await results('subscription { testBreak }')
    expect(tick).toEqual({ data: { testBreak: 1 } })
    expect(end?.errors).toMatchObject([{ message: masked(), extensions: { code: 'INTERNAL_SERVER_ERROR' } }])
    expect(more).toEqual([])
    expect(app.logs.takeError('an operation failed unexpectedly')).toMatchObject({ err: { message: secretOfBug } })
  })
})

function masked(): string {
  return 'Something went wrong on the server.'
}

function detailsOf({ details }: Case): { details?: Record<string, unknown> } {
  return details === undefined ? {} : { details }
}

async function first<T>(items: AsyncIterable<T>): Promise<T> {
  for await (const item of items) return item
  throw new Error('there was no result')
}

/** graphql-ws throws what an `error` message brings. */
async function overWebSocket(document: string, variables?: Record<string, unknown>): Promise<GraphQLAnswer<unknown>> {
  try {
    return await first(app.subscribe(document, variables))
  } catch (errors) {
    if (isErrors(errors)) return { errors }
    throw errors
  }
}

function isErrors(value: unknown): value is GraphQLErrorJson[] {
  return Array.isArray(value)
}
