import type { Logger } from '../logger.ts'
import type { RedisConnection } from './redis-connection.ts'
import { createRefusalLog } from './refusal-log.ts'

/**
 * The channels that a connection is to be subscribed to. They are a set and not a queue of commands: while Redis is away it may change as
 * often as it likes, and when Redis is back all of it is subscribed to. (The clients' own way, queued commands and re-subscribing what they
 * remember, grows without bound meanwhile and rejects promises that nobody holds.)
 */
export interface Channels {
  add(channel: string): void
  remove(channel: string): void
  /** Resolves when Redis has confirmed `channel`, when it is not wanted any more, or after `limitMs`. */
  untilConfirmed(channel: string, limitMs: number): Promise<void>
  close(): void
}

export type ChannelsOptions = {
  /** Of the use `subscriptions`, and nobody else's. */
  connection: RedisConnection
  /** Subscribed to always, so that there is something to ask for. */
  probeChannel: string
  logger: Logger
  /** How often everything is subscribed to again, in milliseconds. Default 5 000. */
  beatMs?: number | undefined
}

type State = { isConfirmed: boolean; tell: Set<() => void> }

const channelsPerCommand = 500

export function createChannels({ connection, probeChannel, logger, beatMs = 5_000 }: ChannelsOptions): Channels {
  const wanted = new Map<string, State>()
  const refusals = createRefusalLog(logger, 'Redis refuses subscriptions; streams look at the rows only')

  function settle(state: State): void {
    for (const tell of state.tell) tell()
    state.tell.clear()
  }

  async function subscribe(channels: readonly string[]): Promise<void> {
    const asked = channels.map((channel) => [channel, wanted.get(channel)] as const)
    try {
      await connection.run((client) => client.subscribe(...channels))
    } catch (error) {
      // The next beat, or the next connection, tries again.
      refusals.failed(error)
      return
    }
    refusals.worked()
    for (const [channel, state] of asked) {
      // Removed meanwhile, and perhaps added again: that has an answer of its own to come.
      if (state === undefined || wanted.get(channel) !== state) continue
      state.isConfirmed = true
      settle(state)
    }
  }

  function subscribeToAll(): void {
    const channels = [probeChannel, ...wanted.keys()]
    for (let start = 0; start < channels.length; start += channelsPerCommand)
      void subscribe(channels.slice(start, start + channelsPerCommand))
  }

  // Subscribing twice changes nothing. It shows that the line is alive, which silence does not, and mends what a client has forgotten: that
  // of a Cluster does not try again when it could not move its subscriptions to another node (ioredis 5.11).
  const beat = setInterval(() => {
    if (connection.isReady()) subscribeToAll()
  }, beatMs)
  beat.unref()
  connection.onReady(() => {
    for (const state of wanted.values()) state.isConfirmed = false
    subscribeToAll()
  })

  return {
    add(channel) {
      if (wanted.has(channel)) return
      wanted.set(channel, { isConfirmed: false, tell: new Set() })
      if (connection.isReady()) void subscribe([channel])
    },
    remove(channel) {
      const state = wanted.get(channel)
      if (state === undefined) return
      wanted.delete(channel)
      settle(state)
      // A message that comes all the same finds no listener.
      if (connection.isReady()) connection.run((client) => client.unsubscribe(channel)).catch(() => {})
    },
    async untilConfirmed(channel, limitMs) {
      const state = wanted.get(channel)
      if (state === undefined || (state.isConfirmed && connection.isReady())) return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(settled, limitMs)
        function settled(): void {
          clearTimeout(timer)
          state?.tell.delete(settled)
          resolve()
        }
        state.tell.add(settled)
      })
    },
    close() {
      clearInterval(beat)
      for (const state of wanted.values()) settle(state)
      wanted.clear()
    },
  }
}
