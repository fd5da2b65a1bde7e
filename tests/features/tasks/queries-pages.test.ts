import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseTaskFilter, type TaskFilterInput } from '../../../src/features/tasks/task-filter.ts'
import { readTaskPages } from '../../../src/features/tasks/task-pages.ts'
import { parsePageArguments, type PageArguments } from '../../../src/lib/keyset-page.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { insertAgent, insertTask, insertUser, later } from '../workspaces/rows.ts'

const statements: string[] = []
const db = await startTestDatabase({ onStatement: (sql) => void statements.push(sql) })
afterAll(() => db[Symbol.asyncDispose]())

type Request = PageArguments & { filter?: TaskFilterInput; owner?: 'workspace' | 'agent' }

async function pagesOf(ownerIds: string[], { filter, owner = 'workspace', ...args }: Request = {}) {
  return readTaskPages(db, ownerIds, { owner, filter: parseTaskFilter(filter), request: parsePageArguments(args) })
}

async function namesOf(ownerId: string, request?: Request) {
  const [page] = await pagesOf([ownerId], request)
  return page?.edges.map(({ node }) => node.name)
}

describe('of a workspace with 12 tasks of two agents', () => {
  let workspaceId = ''
  let agents: string[] = []

  // t00 (oldest) … t11; even ones are the first agent's; every third FAILED, every fourth QUEUED; pairs share their time.
  beforeAll(async () => {
    workspaceId = (await insertUser(db)).workspaceId
    agents = [await insertAgent(db, workspaceId), await insertAgent(db, workspaceId)]
    for (let n = 0; n < 12; n += 1) {
      const status = n % 3 === 0 ? 'FAILED' : n % 4 === 0 ? 'QUEUED' : 'SUCCEEDED'
      const queuedAt = status === 'QUEUED' ? later(n) : null
      const owner = { workspaceId, agentId: agents[n % 2] ?? '' }
      const name = `t${String(n).padStart(2, '0')}`
      const createdAt = later(Math.floor(n / 2))
      await insertTask(db, owner, { name, status, queuedAt, createdAt, prompt: `Prompt ${n}: 100% O_K\\` })
    }
  })

  test('gives the newest first, also those of the same time', async () => {
    expect(await namesOf(workspaceId, { first: 5 })).toEqual(['t11', 't10', 't09', 't08', 't07'])
  })

  test.each([
    ['workspace', {}],
    ['workspace', { status: ['FAILED', 'SUCCEEDED'] }],
    ['agent', {}],
    ['agent', { status: ['SUCCEEDED', 'QUEUED'] }],
  ] as const)('goes through all of a(n) %s forward and back, in pages of any size: %j', async (owner, filter) => {
    const ownerId = owner === 'workspace' ? workspaceId : (agents[0] ?? '')
    const all = await namesOf(ownerId, { first: 100, owner, filter })
    expect(all?.length).toBeGreaterThan(3)
    expect(all).toEqual(all?.toSorted().toReversed())
    for (const size of [1, 2, 3, 7]) {
      const forward: (string | null)[] = []
      for (let after: string | null = null, more = true; more;) {
        const [page] = await pagesOf([ownerId], { first: size, after, owner, filter })
        forward.push(...(page?.edges.map(({ node }) => node.name) ?? []))
        expect(page?.pageInfo.hasPreviousPage).toBe(after !== null)
        after = page?.pageInfo.endCursor ?? null
        more = page?.pageInfo.hasNextPage ?? false
      }
      expect(forward).toEqual(all)
      const back: (string | null)[] = []
      for (let before: string | null = null, more = true; more;) {
        const [page] = await pagesOf([ownerId], { last: size, before, owner, filter })
        back.unshift(...(page?.edges.map(({ node }) => node.name) ?? []))
        expect(page?.pageInfo.hasNextPage).toBe(before !== null)
        before = page?.pageInfo.startCursor ?? null
        more = page?.pageInfo.hasPreviousPage ?? false
      }
      expect(back).toEqual(all)
    }
  })

  test('goes on where it was when the row of the cursor is gone', async () => {
    const { workspaceId: id } = await insertUser(db)
    const owner = { workspaceId: id, agentId: await insertAgent(db, id) }
    for (let n = 0; n < 3; n += 1) await insertTask(db, owner, { name: `t${n}`, createdAt: later(n) })
    const [page] = await pagesOf([id], { first: 2 })
    await db.prisma.task.deleteMany({ where: { workspaceId: id, name: 't1' } })
    expect(await namesOf(id, { first: 2, after: page?.pageInfo.endCursor ?? null })).toEqual(['t0'])
  })

  test.each<[string, TaskFilterInput, string[]]>([
    ['one status', { status: ['QUEUED'] }, ['t08', 't04']],
    ['several statuses', { status: ['QUEUED', 'FAILED'] }, ['t09', 't08', 't06', 't04', 't03', 't00']],
    ['no status at all', { status: [] }, []],
    ['from a time on', { createdAfter: later(4) }, ['t11', 't10', 't09', 't08']],
    ['before a time', { createdBefore: later(1) }, ['t01', 't00']],
    ['a time between', { createdAfter: later(1), createdBefore: later(2) }, ['t03', 't02']],
    ['text in the name, whatever its case', { search: 'T1' }, ['t11', 't10']],
    ['text in the prompt', { search: 'pROMPT 3' }, ['t03']],
    ['a percent sign for itself', { search: '7: 100% o' }, ['t07']],
    ['a percent sign for nothing else', { search: '7%O' }, []],
    ['an underscore for nothing else', { search: 't_1' }, []],
    ['a backslash for itself', { search: '5: 100% O_K\\' }, ['t05']],
    ['all at once', { status: ['SUCCEEDED'], createdAfter: later(3), search: 't1' }, ['t11', 't10']],
  ])('finds %s', async (_what, filter, names) => {
    expect(await namesOf(workspaceId, { filter })).toEqual(names)
  })

  test('finds those of an agent, and none of an agent elsewhere', async () => {
    const [even = '', odd = ''] = agents
    const evens = ['t10', 't08', 't06', 't04', 't02', 't00']
    expect(await namesOf(workspaceId, { filter: { agentId: even } })).toEqual(evens)
    expect(await namesOf(even, { owner: 'agent' })).toEqual(evens)
    expect(await namesOf(even, { owner: 'agent', filter: { agentId: odd } })).toEqual([])
    const other = await insertUser(db)
    expect(await namesOf(other.workspaceId, { filter: { agentId: even } })).toEqual([])
  })

  test('gives each owner its own page, in one statement, in the order asked for', async () => {
    const [even = '', odd = ''] = agents
    const { workspaceId: empty } = await insertUser(db)
    statements.length = 0
    const pages = await pagesOf([odd, empty, even, odd], { first: 2, owner: 'agent' })
    expect(statements).toHaveLength(1)
    expect(pages.map(({ edges }) => edges.map(({ node }) => node.name))).toEqual([
      ['t11', 't09'],
      [],
      ['t10', 't08'],
      ['t11', 't09'],
    ])
    expect(pages[1]?.pageInfo).toEqual({
      hasNextPage: false,
      hasPreviousPage: false,
      startCursor: null,
      endCursor: null,
    })
  })

  test('gives rows as Prisma reads them, but for the hash', async () => {
    const [page] = await pagesOf([workspaceId], { first: 1 })
    const row = page?.edges[0]?.node
    expect(row).toEqual(await db.prisma.task.findUnique({ where: { id: row?.id ?? '' } }))
  })

  test('a page of none says whether there is more', async () => {
    const [page] = await pagesOf([workspaceId], { first: 0 })
    expect(page).toEqual({
      edges: [],
      pageInfo: { hasNextPage: true, hasPreviousPage: false, startCursor: null, endCursor: null },
    })
  })
})

test('a search may have 200 characters', () => {
  expect(parseTaskFilter({ search: 'x'.repeat(200) }).search).toHaveLength(200)
  expect(() => parseTaskFilter({ search: 'x'.repeat(201) })).toThrow(
    expect.objectContaining({ code: 'BAD_USER_INPUT', details: expect.objectContaining({ field: 'filter.search' }) }),
  )
})
