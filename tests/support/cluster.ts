import { findPostgres, startPostgresServer, type PostgresServer } from './postgres-server.ts'
import { findRedis, startRedisServer, type RedisTestServer } from './redis-server.ts'
import { createGraphQLClient, type GraphQLClient } from './graphql-client.ts'
import { startServerProcess, type ServerProcess } from './server-process.ts'

/** PostgreSQL, Redis, and processes of both roles, all throw-away and on 127.0.0.1. */
export interface Cluster extends AsyncDisposable {
  readonly postgres: PostgresServer
  readonly databaseUrl: string
  readonly redis: RedisTestServer
  readonly apis: readonly Member[]
  readonly workers: readonly ServerProcess[]
  /** The worker that is running the task, by what it has logged. */
  workerOf(taskId: string): ServerProcess
}

export type Member = ServerProcess & { client: GraphQLClient }

export type ClusterOptions = {
  apis?: number
  workers?: number
  /** For every process. */
  env?: Readonly<Record<string, string>>
}

/** Null (said loudly) when PostgreSQL or Redis is not on this machine; in CI that is an error. */
export function findClusterPrograms(): { postgres: string; redis: string } | null {
  const postgres = findPostgres()
  const redis = findRedis()
  return postgres === null || redis === null ? null : { postgres, redis }
}

export async function startCluster(
  programs: { postgres: string; redis: string },
  { apis = 2, workers = 2, env = {} }: ClusterOptions = {},
): Promise<Cluster> {
  const started: AsyncDisposable[] = []
  const stopAll = async (): Promise<void> => {
    for (const one of started.toReversed()) await one[Symbol.asyncDispose]()
  }
  const keep = <One extends AsyncDisposable>(one: One): One => {
    started.push(one)
    return one
  }
  try {
    const postgres = keep(await startPostgresServer(programs.postgres))
    const redis = keep(await startRedisServer(programs.redis))
    const databaseUrl = await postgres.createDatabase()
    const shared = {
      DATABASE_URL: databaseUrl,
      REDIS_URL: redis.url,
      MONK_SECRET: 'a secret that all the processes share',
      LOG_LEVEL: 'debug',
      ...env,
    }
    const start = async (role: 'api' | 'worker'): Promise<ServerProcess> =>
      keep(await startServerProcess({ ...shared, MONK_ROLES: role }))
    // All at once, so that they meet over the migrations and the keys.
    const [apiProcesses, workerProcesses] = await Promise.all([
      Promise.all(Array.from({ length: apis }, () => start('api'))),
      Promise.all(Array.from({ length: workers }, () => start('worker'))),
    ])
    return {
      postgres,
      databaseUrl,
      redis,
      apis: apiProcesses.map((api) => ({ ...api, client: createGraphQLClient(api.url) })),
      workers: workerProcesses,
      workerOf(taskId) {
        const running = workerProcesses.find((worker) => runs(worker.output(), taskId))
        if (running === undefined) throw new Error(`no worker has said that it runs ${taskId}`)
        return running
      },
      [Symbol.asyncDispose]: stopAll,
    }
  } catch (error) {
    await stopAll()
    throw error
  }
}

function runs(output: string, taskId: string): boolean {
  const lines = output.split('\n').filter((line) => line.includes(taskId))
  return lines.findLast((line) => /run (started|ended)/.test(line))?.includes('run started') ?? false
}
