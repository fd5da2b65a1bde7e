import { randomUUID } from 'node:crypto'
import { Queue } from 'bullmq'
import pg from 'pg'
import { startChildProcess } from '../../tests/support/child-process.ts'
import { acceptedStatement, bareQueueName, bareTables, poolSize, type BareJob } from './bare-tables.ts'
import type { Contestant, WorkTimes } from './contestant.ts'

export type BareBullmqOptions = {
  databaseUrl: string
  redisPort: number
  workers: number
  /** Of each worker. */
  concurrency: number
  agents: number
}

/**
 * The baseline: bare BullMQ with two inserts per job, handed in from this process without an API, and no work done. It has no leases, no
 * order by priority, no limit per agent, no events and no output.
 */
export async function startBareBullmq(options: BareBullmqOptions): Promise<Contestant & AsyncDisposable> {
  const { databaseUrl, redisPort, agents } = options
  const pool = new pg.Pool({ connectionString: databaseUrl, max: poolSize })
  const connection = { host: '127.0.0.1', port: redisPort, maxRetriesPerRequest: null }
  const queue = new Queue<BareJob>(bareQueueName, { connection, defaultJobOptions: { removeOnComplete: true } })
  await pool.query(bareTables)
  const script = new URL('bare-worker.ts', import.meta.url)
  const args = [String(redisPort), databaseUrl, String(options.concurrency)]
  const workers = Array.from({ length: options.workers }, () => startChildProcess(script, args))
  let submitted = 0

  async function stop(): Promise<void> {
    for (const worker of workers) await worker[Symbol.asyncDispose]()
    await queue.close()
    await pool.end()
  }

  try {
    await Promise.all(workers.map((worker) => worker.nextLine()))
  } catch (error) {
    await stop()
    throw error
  }
  return {
    name: 'bare BullMQ',
    async submit() {
      const id = randomUUID()
      submitted += 1
      await pool.query({ ...acceptedStatement, values: [id, `agent-${submitted % agents}`, 'Go.'] })
      await queue.add('job', { id })
      return id
    },
    async unfinished() {
      const { rows } = await pool.query<{ n: number }>(
        'SELECT ((SELECT count(*) FROM job) - (SELECT count(*) FROM run))::int AS n',
      )
      return rows[0]?.n ?? Number.NaN
    },
    async times(ids) {
      const { rows } = await pool.query<WorkTimes>(
        `SELECT j.id, extract(epoch FROM j.created_at)::float8 * 1000 AS "acceptedAtMs",
                extract(epoch FROM r.started_at)::float8 * 1000 AS "startedAtMs",
                extract(epoch FROM r.started_at)::float8 * 1000 AS "endedAtMs"
           FROM job j JOIN run r ON r.job_id = j.id WHERE j.id = ANY ($1)`,
        [ids],
      )
      if (rows.length !== ids.length) throw new Error(`${ids.length - rows.length} bare jobs were lost`)
      return rows
    },
    [Symbol.asyncDispose]: stop,
  }
}
