/*
 * The worker of the baseline: `node --import tsx bare-worker.ts <redis port> <database URL> <concurrency>` takes jobs off the queue and writes
 * for each the second of its two rows; that is all. Prints a line when it is ready, and works until it is killed.
 */
import { Worker } from 'bullmq'
import pg from 'pg'
import { bareQueueName, poolSize, startedStatement, type BareJob } from './bare-tables.ts'

const [, , redisPort, connectionString, concurrency] = process.argv
const pool = new pg.Pool({ connectionString, max: poolSize })
const worker = new Worker<BareJob>(
  bareQueueName,
  async ({ data }) => void (await pool.query({ ...startedStatement, values: [data.id] })),
  {
    connection: { host: '127.0.0.1', port: Number(redisPort), maxRetriesPerRequest: null },
    concurrency: Number(concurrency),
  },
)
await worker.waitUntilReady()
console.log('ready')
