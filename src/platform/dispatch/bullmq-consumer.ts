import { QueueKeys, RedisConnection as BullmqConnection, RedisQueueBackend, Worker, type Job } from 'bullmq'
import { sleep } from '../../lib/sleep.ts'
import { maxBlockSeconds } from '../redis/redis-client.ts'
import type { Logger } from '../logger.ts'
import type { RedisConnection } from '../redis/redis-connection.ts'
import { createRefusalLog } from '../redis/refusal-log.ts'
import type { HintQuota } from './hint-quota.ts'

export type BullmqConsumerOptions = {
  queueName: string
  keyPrefix: string
  quota: HintQuota
  requests: RedisConnection
  /** Its own, closed with it. */
  blocking: RedisConnection
  /** Must not throw. */
  handler: (workspaceId: string) => Promise<void>
  /** Waited for before a hint is taken. */
  untilReady: () => Promise<void>
  logger: Logger
  /** How long taking a hint off the queue may take before it is given to another, in milliseconds. */
  lockMs: number
}

/**
 * Takes hints out of the BullMQ queue, one at a time. A hint is on its way off the queue *before* its handler is called, and nobody waits for
 * that: a process that dies loses the one that it has in hand, and the reconciler is faster than any lock; a handler may wait as long as it
 * likes without holding anything in Redis; and work that is hinted at meanwhile gets a hint of its own.
 *
 * BullMQ's jobs are fetched by hand, and the waiting for its marker is ours: its own loop waits for up to 15 s after an error, connects again
 * when it was told to stop, and does not stop at all while Redis is away (6.7).
 *
 * Returns a function that stops it: it resolves when the hint in hand has been handled, and what comes too late goes back to the queue.
 */
export function startBullmqConsumer(options: BullmqConsumerOptions): () => Promise<void> {
  const { queueName, quota, requests, blocking, handler, untilReady, logger, lockMs } = options
  const worker = createWorker(options)
  const backend = worker.getBackend()
  const markerKey = backend.toKey('marker')
  const token = worker.id
  const refusals = createRefusalLog(logger, 'Redis refuses to hand out hints; work goes on within each process')
  const stopping = new AbortController()
  // Of the latest hint. One connection keeps the order: it has been answered by the time the next hint comes.
  let isOffQueue: Promise<unknown> = Promise.resolve()

  async function take(): Promise<string | null> {
    const job: Job<unknown> | undefined = await requests.run(() => worker.getNextJob(token, { block: false }))
    if (job === undefined) {
      await blocking.run((client) => client.bzpopmin(markerKey, maxBlockSeconds))
      return null
    }
    if (stopping.signal.aborted) {
      await requests.run(() => job.moveToWait(token))
      return null
    }
    const workspaceId = workspaceIdOf(job.data)
    const taken = [requests.run(() => job.moveToCompleted(null, token, false))]
    if (workspaceId !== null) taken.push(quota.release(workspaceId))
    // We have it in hand whatever becomes of that: Redis may have been emptied meanwhile. What stays behind is recovered as stalled.
    isOffQueue = Promise.allSettled(taken)
    return workspaceId
  }

  async function takeAll(): Promise<void> {
    let failures = 0
    while (!stopping.signal.aborted) {
      try {
        await untilReady()
        if (stopping.signal.aborted) return
        const workspaceId = await take()
        refusals.worked()
        failures = 0
        if (workspaceId !== null) await handler(workspaceId)
      } catch (error) {
        if (stopping.signal.aborted) return
        refusals.failed(error)
        // Redis is away, or does not want: not more often than once a second.
        await sleep(Math.min(1_000, 50 * 2 ** failures), stopping.signal).catch(() => {})
        failures += 1
      }
    }
  }

  // Gives back what a process took and died with. Redis lets only one process do it within the interval.
  const recovery = setInterval(() => {
    requests.run(() => backend.moveStalledJobsToWait()).catch((error: unknown) => refusals.failed(error))
  }, lockMs)
  recovery.unref()
  const taken = takeAll()

  return async () => {
    stopping.abort(new Error(`the consumer of ${queueName} stops`))
    clearInterval(recovery)
    // It may be waiting for the marker.
    await blocking.close()
    await taken
    await isOffQueue
    await worker.close(true)
  }
}

function createWorker({ queueName, keyPrefix, requests, lockMs }: BullmqConsumerOptions): Worker<unknown> {
  const keys = new QueueKeys(keyPrefix)
  const worker = new Worker<unknown>(
    queueName,
    null,
    {
      connection: requests.client,
      prefix: keyPrefix,
      autorun: false,
      lockDuration: lockMs,
      stalledInterval: lockMs,
      // However often: it is only a hint.
      maxStalledCount: 1_000_000,
    },
    // BullMQ would connect anew, twice.
    (name, opts) =>
      new RedisQueueBackend(
        new BullmqConnection(requests.client, {
          shared: true,
          blocking: false,
          skipVersionCheck: true,
          skipWaitingForReady: true,
        }),
        name,
        keys.getKeys(name),
        (type) => keys.toKey(name, type),
        opts,
      ),
  )
  // The connection logs its own.
  worker.on('error', () => {})
  return worker
}

function workspaceIdOf(data: unknown): string | null {
  if (typeof data !== 'object' || data === null || !('workspaceId' in data)) return null
  return typeof data.workspaceId === 'string' ? data.workspaceId : null
}
