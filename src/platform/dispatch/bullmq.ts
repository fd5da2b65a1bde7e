import { Queue } from 'bullmq'
import type { Logger } from '../logger.ts'
import type { RedisClient } from '../redis/redis-client.ts'
import type { RedisServer } from '../redis/redis.ts'
import { createRefusalLog } from '../redis/refusal-log.ts'
import { startBullmqConsumer } from './bullmq-consumer.ts'
import type { Dispatch } from './dispatch.ts'
import { createHintQuota } from './hint-quota.ts'
import { createInProcessDispatch } from './in-process.ts'

export type BullmqDispatchOptions = {
  redis: RedisServer
  /** How many hints of one workspace may wait, for all processes together: it has as many turns before the next one comes. */
  maxWaitingPerWorkspace: number
  /** Told when a handler throws, which is a bug in it; the next hint is delivered all the same. */
  onError: (error: unknown) => void
  logger: Logger
  /** How long taking a hint off the queue may take before it is given to another, in milliseconds. Default 5 000. */
  lockMs?: number | undefined
  /** See HintQuotaOptions. */
  doubtAfterMs?: number | undefined
}

const queueName = 'hints'
/** How long the start waits for its connection; without one it goes on as it does when Redis is away. */
const connectLimitMs = 5_000
/** How long stopping waits for a handler. */
const stopLimitMs = 1_000

type Consumer = { local: Dispatch; stop(): Promise<void> }

/**
 * Hints for all processes: a BullMQ queue, first in, first out.
 *
 * While Redis is away a process gives its hints to its own consumer, so that its reconciler keeps work going; a process without a consumer
 * is told that they are lost (ServiceUnavailableError). When Redis is back, everything goes on by itself. `close`, and stopping a consumer,
 * take two seconds at most, also when Redis is away or a handler hangs.
 */
export async function createBullmqDispatch(options: BullmqDispatchOptions): Promise<Dispatch> {
  const { redis, maxWaitingPerWorkspace, onError, logger, lockMs = 5_000, doubtAfterMs } = options
  const { keyPrefix } = redis
  const requests = redis.connect('requests', 'hints')
  const queue = createQueue(requests.client, keyPrefix)
  const quota = createHintQuota({
    connection: requests,
    keyPrefix,
    maxWaiting: maxWaitingPerWorkspace,
    queueKeys: { wait: queue.toKey('wait'), id: queue.toKey('id') },
    doubtAfterMs,
  })
  const consumers = new Set<Consumer>()
  let opened = 0
  let closed = false
  const refusals = createRefusalLog(logger, 'Redis refuses hints; work goes on within each process')

  async function add(workspaceId: string): Promise<void> {
    // Custom ids would be refused for as long as their like is being taken; so BullMQ numbers them, which the quota relies on.
    if (await quota.admit(workspaceId)) await requests.run(() => queue.add('hint', { workspaceId }))
  }

  await requests.untilReady(connectLimitMs)

  return {
    async hint(workspaceId) {
      if (closed) return
      try {
        await add(workspaceId)
        refusals.worked()
      } catch (error) {
        if (closed) return
        const [consumer] = consumers
        if (consumer === undefined) throw error
        refusals.failed(error)
        await consumer.local.hint(workspaceId)
      }
    },
    consume(handler, untilReady = () => Promise.resolve()) {
      const take = oneAtATime(handler, onError)
      const local = createInProcessDispatch({ maxWaitingPerWorkspace, onError })
      const stopLocal = local.consume(take, untilReady)
      const blocking = redis.connect('blocking', `hints-${(opened += 1)}`)
      const shared = { queueName, keyPrefix, quota, requests, blocking, handler: take, untilReady, logger, lockMs }
      const stopShared = startBullmqConsumer(shared)
      const self: Consumer = {
        local,
        async stop() {
          consumers.delete(self)
          await settledWithin(Promise.all([stopLocal(), stopShared()]), stopLimitMs)
        },
      }
      consumers.add(self)
      return () => self.stop()
    },
    async close() {
      closed = true
      await Promise.all([...consumers].map((consumer) => consumer.stop()))
      await requests.close()
      await queue.close()
    },
  }
}

function createQueue(connection: RedisClient, prefix: string): Queue<{ workspaceId: string }> {
  const queue = new Queue<{ workspaceId: string }>(queueName, {
    connection,
    prefix,
    skipVersionCheck: true,
    skipWaitingForReady: true,
    skipMetasUpdate: true,
    defaultJobOptions: { attempts: 1, removeOnComplete: true, removeOnFail: true },
  })
  // The connection logs its own.
  queue.on('error', () => {})
  return queue
}

/** From the queue and from this process itself hints come at once; the handler gets one after the other. */
function oneAtATime(
  handler: (workspaceId: string) => Promise<void>,
  onError: (error: unknown) => void,
): (workspaceId: string) => Promise<void> {
  let last = Promise.resolve()
  return (workspaceId) => (last = last.then(() => handler(workspaceId)).catch(onError))
}

async function settledWithin(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeUp = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))
  await Promise.race([work, timeUp])
  clearTimeout(timer)
}
