import { afterAll, expect, test } from 'vitest'
import type { UsageGroup } from '../../../src/features/usage/usage-report.ts'
import { startTestApp, type TestUser } from '../../support/test-app.ts'
import { rowId } from '../tasks/graphql-fixture.ts'
import { insertAgent, insertUsage } from '../workspaces/rows.ts'

const app = await startTestApp()
afterAll(() => app[Symbol.asyncDispose]())
const { db } = app.services

const query = `query ($workspaceId: ID, $from: DateTime!, $to: DateTime!, $groupBy: [UsageGroup!]) {
  usage(workspaceId: $workspaceId, from: $from, to: $to, groupBy: $groupBy) {
    model agent { name } user { email } start requests
    usage { inputTokens totalTokens estimated costUsd savedUsd }
  }
}`

type Range = { from: string; to: string }
const march: Range = { from: '2026-03-01T00:00:00Z', to: '2026-04-01T00:00:00Z' }

async function personalWorkspaceOf(user: TestUser): Promise<{ workspaceId: string; userId: string }> {
  const userId = rowId(user.id)
  const { id } = await db.prisma.workspace.findUniqueOrThrow({ where: { personalOfId: userId } })
  return { workspaceId: id, userId }
}

async function read(user: TestUser, groupBy: readonly UsageGroup[], range: Range = march): Promise<unknown[]> {
  const { data, errors } = await app.graphql(query, { ...range, groupBy }, { token: user.token })
  if (errors !== undefined) throw new Error(JSON.stringify(errors))
  const usage = data?.['usage']
  if (!Array.isArray(usage)) throw new Error('no list')
  return usage
}

async function failureOf(user: TestUser, groupBy: readonly UsageGroup[], range: Range): Promise<unknown[]> {
  const { errors } = await app.graphql(query, { ...range, groupBy }, { token: user.token })
  return (errors ?? []).map(({ extensions }) => [extensions.code, extensions.details['field']])
}

const at = (time: string): Date => new Date(`2026-03-${time}Z`)
const one = { inputTokens: 100, totalTokens: 150, estimated: false, costUsd: 0.001, savedUsd: 0 }
const nobody = { model: null, agent: null, user: null, start: null }

test('groups by model, agent, user and day, in the order of time', async () => {
  const user = await app.signUp()
  const { workspaceId, userId } = await personalWorkspaceOf(user)
  const agentId = await insertAgent(db, workspaceId, { name: 'Poet' })
  await insertUsage(db, { workspaceId, userId, agentId, at: at('02T23:59:59.999') })
  await insertUsage(db, { workspaceId, userId, agentId, at: at('01T00:00:00') })
  await insertUsage(db, { workspaceId, userId, agentId, at: at('01T10:00:00'), estimated: true })
  await insertUsage(db, { workspaceId, userId, at: at('01T10:00:00'), model: 'x/y', savedNanoUsd: 2_000_000_000n })
  await insertUsage(db, { workspaceId, userId, at: new Date(march.to) })

  const day = (date: string): string => `2026-03-${date}T00:00:00.000Z`
  const { email } = user
  expect(await read(user, ['MODEL', 'AGENT', 'USER', 'DAY'])).toEqual([
    {
      model: 'demo/demo',
      agent: { name: 'Poet' },
      user: { email },
      start: day('01'),
      requests: 2,
      usage: { inputTokens: 200, totalTokens: 300, estimated: true, costUsd: 0.002, savedUsd: 0 },
    },
    {
      model: 'x/y',
      agent: null,
      user: { email },
      start: day('01'),
      requests: 1,
      usage: { ...one, savedUsd: 2 },
    },
    { model: 'demo/demo', agent: { name: 'Poet' }, user: { email }, start: day('02'), requests: 1, usage: one },
  ])
  expect(await read(user, ['HOUR', 'DAY'])).toMatchObject([
    { start: '2026-03-01T00:00:00.000Z', requests: 1 },
    { start: '2026-03-01T10:00:00.000Z', requests: 2 },
    { start: '2026-03-02T23:00:00.000Z', requests: 1 },
  ])
  expect(await read(user, [])).toMatchObject([{ ...nobody, requests: 4, usage: { costUsd: 0.004 } }])
})

test('is one sum of zeros when nothing was used, and no group', async () => {
  const user = await app.signUp()
  const zeros = { inputTokens: 0, totalTokens: 0, estimated: false, costUsd: 0, savedUsd: 0 }
  expect(await read(user, [])).toEqual([{ ...nobody, requests: 0, usage: zeros }])
  expect(await read(user, ['MODEL'])).toEqual([])
})

test('says nothing of a foreign workspace', async () => {
  const [owner, stranger] = [await app.signUp(), await app.signUp()]
  const { data } = await app.graphql('{ workspace { id } }', {}, { token: owner.token })
  const workspaceId = JSON.parse(JSON.stringify(data)).workspace.id
  const { errors } = await app.graphql(query, { ...march, workspaceId }, { token: stranger.token })
  expect(errors?.map(({ extensions }) => extensions.code)).toEqual(['NOT_FOUND'])
})

test.each<[string, UsageGroup[], Range]>([
  ['an empty range', [], { from: march.from, to: march.from }],
  ['more than 400 days', ['DAY'], { from: '2024-01-01T00:00:00Z', to: '2026-01-01T00:00:00Z' }],
  ['more than 35 days by hour', ['HOUR'], { from: '2026-01-01T00:00:00Z', to: '2026-03-01T00:00:00Z' }],
])('refuses %s', async (_what, groupBy, range) => {
  expect(await failureOf(await app.signUp(), groupBy, range)).toEqual([['BAD_USER_INPUT', 'to']])
})

test('refuses more groups than it gives, rather than some of them', async () => {
  const user = await app.signUp()
  const { workspaceId } = await personalWorkspaceOf(user)
  await db.prisma.$executeRaw`
    INSERT INTO usage_record (id, workspace_id, model, input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, estimated, at)
    SELECT gen_random_uuid(), ${workspaceId}::uuid, 'model/' || n, 1, 0, 1, 0, false, ${at('05T00:00:00')}::timestamptz FROM generate_series(1, 5001) n`
  expect(await failureOf(user, ['MODEL'], march)).toEqual([['BAD_USER_INPUT', 'groupBy']])
  expect(await read(user, [])).toMatchObject([{ requests: 5001, usage: { costUsd: null } }])
})
