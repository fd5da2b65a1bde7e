import { describe, expect, test } from 'vitest'
import type { GraphQLErrorJson } from '../support/graphql-client.ts'
import { sendRaw } from '../support/raw-http.ts'
import type { TestApp } from '../support/test-app.ts'

/** What came back: enough to see whether the attack has got anything. */
export type Outcome = {
  status: number
  headers: Record<string, string>
  /** Of the first error; null when there is none. */
  code: string | null
  message: string | null
  details: Record<string, unknown>
  data: unknown
  text: string
}

/** One attack: what is sent, what must come back, and what it may leave behind. */
export type Attack<Target> = {
  name: string
  send: (target: Target) => Promise<Outcome>
  /** Held against the outcome by `toMatchObject`. */
  expected: Partial<Record<keyof Outcome, unknown>>
  /** Rows that are there afterwards and were not before, by table; none by default. */
  leaves?: Record<string, number>
}

/** Rows of these come and go by themselves. */
const selfMoving: ReadonlySet<string> = new Set(['audit_event', 'process', 'alert', '_prisma_migrations'])

/** What no answer may ever contain. */
const leaks = /node_modules|\.ts:\d|at Object\.|prisma|SELECT |INSERT |password_hash|violet-otter/i

export function attackSuite<Target extends { app: TestApp }>(
  title: string,
  start: () => Target,
  attacks: readonly Attack<Target>[],
): void {
  describe(title, () => {
    test.each(attacks)('$name', async ({ send, expected, leaves = {} }) => {
      const target = start()
      const before = await rowCounts(target.app)
      const outcome = await send(target)
      expect(outcome).toMatchObject(expected)
      expect(outcome.text).not.toMatch(leaks)
      expect(growth(before, await rowCounts(target.app))).toEqual(leaves)
      target.app.logs.assertNoErrors()
    })
  })
}

async function rowCounts({ services }: TestApp): Promise<Map<string, number>> {
  const { prisma } = services.db
  const tables = await prisma.$queryRawUnsafe<{ name: string }[]>(
    `SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`,
  )
  const counts = tables
    .filter(({ name }) => !selfMoving.has(name) && !name.includes('process'))
    .map(({ name }) => `SELECT '${name}' AS name, count(*)::int AS rows FROM "${name}"`)
  const rows = await prisma.$queryRawUnsafe<{ name: string; rows: number }[]>(counts.join(' UNION ALL '))
  return new Map(rows.map((row) => [row.name, row.rows]))
}

function growth(before: Map<string, number>, after: Map<string, number>): Record<string, number> {
  return Object.fromEntries(
    [...after].map(([name, rows]) => [name, rows - (before.get(name) ?? 0)] as const).filter(([, more]) => more !== 0),
  )
}

export type Sent = { query?: unknown; variables?: unknown; [field: string]: unknown }

/** An operation by POST, as any client would send it; `headers` and the body can be anything. */
export async function post(
  app: TestApp,
  body: Sent | string,
  { token, headers = {} }: { token?: string; headers?: Record<string, string> } = {},
): Promise<Outcome> {
  const response = await app.request('/graphql', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return outcomeOf(response)
}

export async function outcomeOf(response: Response): Promise<Outcome> {
  return toOutcome(response.status, Object.fromEntries(response.headers), await response.text())
}

/** Bytes as they are, over a connection of its own. */
export async function raw(app: TestApp, parts: Iterable<string | Buffer>): Promise<Outcome> {
  const { status, head, body } = await sendRaw(app.url, parts)
  const headers = Object.fromEntries(
    head
      .split('\r\n')
      .slice(1)
      .map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  )
  return toOutcome(status, headers, body)
}

export function toOutcome(status: number, headers: Record<string, string>, text: string): Outcome {
  const { data = null, errors = [] } = parse(text)
  // The one form of errors, whatever the attack was.
  for (const error of errors) expect(Object.keys(error.extensions).toSorted()).toEqual(errorFields)
  const [first] = errors
  return {
    status,
    headers,
    code: first?.extensions.code ?? null,
    message: first?.message ?? null,
    details: first?.extensions.details ?? {},
    data,
    text,
  }
}

const errorFields = ['code', 'details', 'requestId', 'suggestions', 'timestamp']

function parse(text: string): { data?: unknown; errors?: GraphQLErrorJson[] } {
  const json = /^data: (.*)$/m.exec(text)?.[1] ?? text
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null ? value : {}
  } catch {
    return {}
  }
}
