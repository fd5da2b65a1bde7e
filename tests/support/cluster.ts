import { createCleanup } from '../../src/lib/cleanup.ts'
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
  readonly workers: readonly Member[]
  /** The worker that is running the task, by what it has logged. */
  workerOf(taskId: string): Member
  /** Starts one more process; it ends with the cluster. */
  start(role: Role): Promise<Member>
}

export type Role = 'api' | 'worker'

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
  const started = createCleanup()
  const keep = <One extends AsyncDisposable>(name: string, one: One): One => {
    started.add(name, async () => one[Symbol.asyncDispose]())
    return one
  }
  try {
    const postgres = keep('PostgreSQL', await startPostgresServer(programs.postgres))
    const redis = keep('Redis', await startRedisServer(programs.redis))
    const databaseUrl = await postgres.createDatabase()
    const shared = {
      DATABASE_URL: databaseUrl,
      REDIS_URL: redis.url,
      MONK_SECRET: 'a secret that all the processes share',
      LOG_LEVEL: 'debug',
      ...env,
    }
    const start = async (role: Role): Promise<Member> => {
      const server = keep(`a process (${role})`, await startServerProcess({ ...shared, MONK_ROLES: role }))
      return { ...server, client: createGraphQLClient(server.url) }
    }
    // All at once, so that they meet over the migrations and the keys. All are waited for, also when one fails: who starts later must end, too.
    const roles: Role[] = [...Array<Role>(apis).fill('api'), ...Array<Role>(workers).fill('worker')]
    const members = fulfilled(await Promise.allSettled(roles.map(start)))
    const workerProcesses = members.slice(apis)
    return {
      postgres,
      databaseUrl,
      redis,
      apis: members.slice(0, apis),
      workers: workerProcesses,
      workerOf(taskId) {
        const running = workerProcesses.find((worker) => runs(worker.output(), taskId))
        if (running === undefined) throw new Error(`no worker has said that it runs ${taskId}`)
        return running
      },
      start,
      [Symbol.asyncDispose]: () => started.run(),
    }
  } catch (error) {
    await started.run()
    throw error
  }
}

function fulfilled<Value>(results: readonly PromiseSettledResult<Value>[]): Value[] {
  const failures = results.filter((result) => result.status === 'rejected').map(({ reason }) => String(reason))
  if (failures.length > 0) throw new Error(failures.join('\n'))
  return results.filter((result) => result.status === 'fulfilled').map(({ value }) => value)
}

function runs(output: string, taskId: string): boolean {
  const lines = output.split('\n').filter((line) => line.includes(taskId))
  return lines.findLast((line) => /run (started|ended)/.test(line))?.includes('run started') ?? false
}
