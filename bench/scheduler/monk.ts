import pg from 'pg'
import { startServerProcess, type ServerProcess } from '../../tests/support/server-process.ts'
import { createApiClient, type ApiClient } from './api-client.ts'
import type { Contestant, WorkTimes } from './contestant.ts'

export type MonkOptions = {
  databaseUrl: string
  redisPort: number
  /** Of the model server. */
  upstreamUrl: string
  apis: number
  workers: number
  /** Of each worker. */
  concurrency: number
  /** Each in a workspace of its own. */
  agents: number
  /** What every answer must be. */
  outputLength: number
  /** How many requests may be under way at each API process. */
  maxConnections: number
}

export type Monk = Contestant &
  AsyncDisposable & {
    /** What its processes have complained of. */
    complaints(): string[]
  }

/** This program: processes of both roles from `dist`, tasks handed in through the public API, in turns at each process and for each agent. */
export async function startMonk(options: MonkOptions): Promise<Monk> {
  const started: ServerProcess[] = []
  const clients: ApiClient[] = []
  const pool = new pg.Pool({ connectionString: options.databaseUrl, max: 2 })

  async function stop(): Promise<void> {
    for (const client of clients) client.close()
    await Promise.all(started.map((server) => server[Symbol.asyncDispose]()))
    await pool.end()
  }

  async function start(role: 'api' | 'worker'): Promise<ServerProcess> {
    const server = await startServerProcess(environment(options, role))
    started.push(server)
    return server
  }

  try {
    const apis = await startMany(options.apis, () => start('api'))
    await startMany(options.workers, () => start('worker'))
    clients.push(...apis.map(({ url }) => createApiClient(url, options.maxConnections)))
    const submit = await createSubmitter(clients, options.agents)
    return {
      name: 'Monk-AI',
      submit,
      ...rowsOf(pool, options.outputLength),
      complaints: () => started.flatMap((server) => server.output().split('\n').filter(isComplaint)),
      [Symbol.asyncDispose]: stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function environment(options: MonkOptions, role: string): Record<string, string> {
  return {
    NODE_ENV: 'production',
    BCRYPT_COST: '12',
    MONK_SECRET: 'a secret that all the processes share',
    MONK_ROLES: role,
    DATABASE_URL: options.databaseUrl,
    REDIS_URL: `redis://127.0.0.1:${options.redisPort}`,
    WORKER_CONCURRENCY: String(options.concurrency),
    OPENAI_API_KEY: 'none',
    OPENAI_BASE_URL: options.upstreamUrl,
    AI_DEFAULT_MODELS: 'openai/fast',
    // All tasks are one user's.
    LIMIT_REQUESTS_PER_MINUTE: '1000000',
    LIMIT_COST_PER_MINUTE: '100000000',
  }
}

const startMany = <One>(count: number, start: () => Promise<One>): Promise<One[]> =>
  Promise.all(Array.from({ length: count }, start))

async function createSubmitter(clients: readonly ApiClient[], agents: number): Promise<() => Promise<string>> {
  let turn = 0
  const send = async <Data>(query: string, variables: object, token?: string): Promise<Data> => {
    const client = clients[turn++ % clients.length]
    if (client === undefined) throw new Error('there is no API process')
    return client.send<Data>({ query, variables, ...(token !== undefined && { token }) })
  }
  const account = { email: 'bench@example.com', password: 'a rather long pass phrase 42' }
  const { signUp } = await send<{ signUp: { accessToken: string } }>(
    'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }',
    { input: account },
  )
  const agentIds: string[] = []
  for (let n = 1; n <= agents; n += 1) {
    const { createWorkspace } = await send<{ createWorkspace: { workspace: { id: string } } }>(
      'mutation ($input: CreateWorkspaceInput!) { createWorkspace(input: $input) { workspace { id } } }',
      { input: { name: `Workspace ${n}` } },
      signUp.accessToken,
    )
    const { createAgent } = await send<{ createAgent: { agent: { id: string } } }>(
      'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
      { input: { workspaceId: createWorkspace.workspace.id, name: `Agent ${n}`, instructions: 'Write.' } },
      signUp.accessToken,
    )
    agentIds.push(createAgent.agent.id)
  }
  return async () => {
    const input = { agentId: agentIds[turn % agents], prompt: 'Go.' }
    const { createTask } = await send<{ createTask: { task: { id: string } } }>(
      'mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id status } } }',
      { input },
      signUp.accessToken,
    )
    return rowId(createTask.task.id)
  }
}

/** The id of the row inside a global id. */
const rowId = (globalId: string): string => Buffer.from(globalId, 'base64').toString().split(':')[1] ?? ''

function rowsOf(pool: pg.Pool, outputLength: number): Pick<Contestant, 'unfinished' | 'times'> {
  return {
    async unfinished() {
      const { rows } = await pool.query<{ n: number }>('SELECT count(*)::int AS n FROM task WHERE finished_at IS NULL')
      return rows[0]?.n ?? Number.NaN
    },
    async times(ids) {
      const { rows } = await pool.query<WorkTimes>(
        `SELECT t.id, extract(epoch FROM t.created_at)::float8 * 1000 AS "acceptedAtMs",
                extract(epoch FROM a.started_at)::float8 * 1000 AS "startedAtMs",
                extract(epoch FROM a.finished_at)::float8 * 1000 AS "endedAtMs"
           FROM task t
           JOIN task_attempt a ON a.task_id = t.id AND a.number = 1
           JOIN task_content c ON c.task_id = t.id
          WHERE t.id = ANY ($1) AND t.status = 'SUCCEEDED' AND t.attempt = 1 AND length(c.output) = $2`,
        [ids, outputLength],
      )
      if (rows.length !== ids.length)
        throw new Error(`${ids.length - rows.length} tasks did not succeed at once with their whole output`)
      return rows
    },
  }
}

/** A line of the log that is a warning or worse, or no line of the log at all after the start. */
function isComplaint(line: string): boolean {
  return /"level":(?:[4-6]0|"(?:warn|error|fatal)")/.test(line)
}
