import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestApp, type TestApp, type TestUser } from '../support/test-app.ts'
import { attackSuite, post, type Attack } from './attack.ts'

// Values that are text for one program and something else for the next.

let app: TestApp
let user: TestUser
let other: TestUser
beforeAll(async () => {
  app = await startTestApp()
  await app.signUp()
  user = await app.signUp()
  other = await app.signUp()
})
afterAll(() => app[Symbol.asyncDispose]())

type Target = { app: TestApp }
const badInput = { code: 'BAD_USER_INPUT', data: null }

const createAgent = 'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id name } } }'
const agent = (name: string, fields: object, expected: Attack<Target>['expected'], leaves = {}): Attack<Target> => ({
  name,
  send: () =>
    post(
      app,
      { query: createAgent, variables: { input: { name: 'Agent', instructions: 'Work.', ...fields } } },
      { token: user.token },
    ),
  expected,
  leaves,
})

const signUp = (name: string, email: string): Attack<Target> => ({
  name,
  send: () =>
    post(app, {
      query: 'mutation ($input: SignUpInput!) { signUp(input: $input) { user { email } } }',
      variables: { input: { email, password: 'violet-otter-canyon-42' } },
    }),
  expected: { ...badInput, details: { field: 'input.email' } },
})

attackSuite('an e-mail', () => ({ app }), [
  signUp('with a zero-width space', 'some\u200Bbody@example.com'),
  signUp('with a right-to-left override', 'some\u202Ebody@example.com'),
  signUp('with a line break and a header', 'a@example.com\r\nBcc: b@example.com'),
  signUp('with NUL', 'a\u0000@example.com'),
  signUp('with half a character', 'a\uD800@example.com'),
  signUp('that is a megabyte of marks', `a${'\u0301'.repeat(300_000)}@example.com`),
  signUp('with two addresses', 'a@example.com,b@example.com'),
  {
    name: 'that looks like another, in other code points (NFC)',
    send: async () => {
      await app.signUp('jos\u00e9@example.com')
      return post(app, {
        query: 'mutation ($input: SignUpInput!) { signUp(input: $input) { user { email } } }',
        variables: { input: { email: 'JOSE\u0301@example.com', password: 'violet-otter-canyon-42' } },
      })
    },
    expected: { code: 'CONFLICT', data: null },
    leaves: { app_user: 1, session: 1, refresh_token: 1, workspace: 1, workspace_counter: 1, workspace_member: 1 },
  },
])

const oneAgent = { agent: 1 }

attackSuite('a value', () => ({ app }), [
  {
    name: 'that is more than 64 KiB where nobody has said how much it may be',
    send: () =>
      post(app, {
        query: 'mutation ($input: SignUpInput!) { signUp(input: $input) { user { id } } }',
        variables: {
          input: { email: 'a@example.com', password: 'violet-otter-canyon-42', bootstrapToken: 'x'.repeat(65_537) },
        },
      }),
    expected: { ...badInput, details: expect.objectContaining({ field: 'input.bootstrapToken' }) },
  },
  agent('that is a name with a line break', { name: 'A\nB' }, badInput),
  agent('that is a name with a bell', { name: 'A\u0007' }, badInput),
  agent('that is a name of ten thousand characters', { name: 'x'.repeat(10_000) }, badInput),
  agent('that is a text of more than 64 KiB', { instructions: 'x'.repeat(65_537) }, badInput),
  agent('with NUL inside JSON', { state: { a: ['\u0000'] } }, badInput),
  agent(
    'that is JSON of a thousand levels',
    { state: JSON.parse(`${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}`) },
    badInput,
  ),
  {
    name: 'that names a prototype inside JSON',
    send: () =>
      post(
        app,
        `{"query": ${JSON.stringify(createAgent)}, "variables": {"input": {"name": "A", "instructions": "B", "state": {"__proto__": {"admin": true}}}}}`,
        { token: user.token },
      ),
    expected: badInput,
  },
  agent('that is a constructor with a prototype', { state: { constructor: { prototype: { admin: true } } } }, badInput),
  agent('that is a field which there is not', { role: 'ADMIN' }, badInput),
  agent(
    'that is a script: it is text, and comes back as that',
    { name: '<script>alert(1)</script>' },
    {
      status: 200,
      headers: expect.objectContaining({
        'content-type': 'application/json; charset=utf-8',
        'x-content-type-options': 'nosniff',
      }),
      data: { createAgent: { agent: { id: expect.any(String), name: '<script>alert(1)</script>' } } },
    },
    oneAgent,
  ),
  agent(
    'that is SQL: it is text, and comes back as that',
    { name: `'; DROP TABLE agent; --` },
    { data: { createAgent: { agent: { id: expect.any(String), name: `'; DROP TABLE agent; --` } } } },
    oneAgent,
  ),
  {
    name: 'that is a search with wildcards',
    send: () =>
      post(app, { query: '{ tasks(filter: { search: "%_\\\\" }) { edges { node { id } } } }' }, { token: user.token }),
    expected: { data: { tasks: { edges: [] } } },
  },
  {
    name: 'that is a forged cursor',
    send: () =>
      post(
        app,
        { query: `{ agents(after: "${Buffer.from(`GPC:S:' OR 1=1`).toString('base64')}") { edges { node { id } } } }` },
        { token: user.token },
      ),
    expected: { code: 'BAD_USER_INPUT', details: { field: 'after' } },
  },
  {
    name: 'that is an id in SQL',
    send: () =>
      post(
        app,
        { query: `{ agent(id: "${Buffer.from("Agent:' OR 1=1 --").toString('base64')}") { id } }` },
        { token: user.token },
      ),
    expected: { code: 'BAD_USER_INPUT' },
  },
  {
    name: 'that is an id of another type',
    send: () => post(app, { query: `{ agent(id: "${user.id}") { id } }` }, { token: user.token }),
    expected: { code: 'BAD_USER_INPUT' },
  },
])

describe('what is somebody else’s', () => {
  test('looks like what does not exist, whichever way one asks', async () => {
    const made = await app.data<{ createAgent: { agent: { id: string } } }>(
      createAgent,
      { input: { name: 'Theirs', instructions: 'Work.' } },
      { token: other.token },
    )
    const theirs = made.createAgent.agent.id
    const missing = Buffer.from(`Agent:${crypto.randomUUID()}`).toString('base64')
    const questions = [
      'query ($id: ID!) { node(id: $id) { id } }',
      'query ($id: ID!) { nodes(ids: [$id]) { id } }',
      'query ($id: ID!) { agent(id: $id) { id } }',
      'mutation ($id: ID!) { updateAgent(input: { id: $id, name: "Mine" }) { agent { id } } }',
      'mutation ($id: ID!) { archiveAgent(input: { id: $id }) { agent { id } } }',
      'mutation ($id: ID!) { createTask(input: { agentId: $id, prompt: "Go." }) { task { id } } }',
    ]
    for (const query of questions) {
      const [one, none] = await Promise.all(
        [theirs, missing].map((id) => post(app, { query, variables: { id } }, { token: user.token })),
      )
      expect({ code: one?.code, message: one?.message, data: one?.data }, query).toEqual({
        code: none?.code,
        message: none?.message,
        data: none?.data,
      })
    }
    const { agent: still } = await app.data<{ agent: { name: string } }>(
      'query ($id: ID!) { agent(id: $id) { name } }',
      { id: theirs },
      { token: other.token },
    )
    expect(still.name).toBe('Theirs')
  })
})
