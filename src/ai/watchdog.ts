import type { Clock } from '../lib/clock.ts'
import type { AiTimeouts } from './timeouts.ts'

/** What an attempt waits for, and so what it has waited for too long when it is given up. */
export type WatchPhase = 'connect' | 'first_token' | 'idle' | 'trailer'

/**
 * Gives an attempt up when nothing comes.
 *
 * | phase       | begins with           | given up after                                    |
 * | ----------- | --------------------- | ------------------------------------------------- |
 * | connect     | the attempt           | connectMs or firstTokenMs, what is shorter        |
 * | first_token | the connection        | firstTokenMs, counted from the attempt's beginning |
 * | idle        | the first token       | idleMs since the last parsed chunk                |
 * | trailer     | the finish reason     | what `trailer` says: the answer is there by then  |
 *
 * In every phase the deadline of the whole call ends it.
 */
export interface Watchdog {
  /** Set once it has given up. */
  readonly expired: WatchPhase | 'deadline' | null
  /** The request is on its way over a connection. May be said more than once. */
  connected(): void
  /** A chunk was parsed. `hasToken`: the model has produced something with it. */
  chunkArrived(hasToken: boolean): void
  /** Only what is wanted beside the complete answer is missing: wait for it no longer than `maxMs`. */
  trailer(maxMs: number): void
  /** A read begins or ends: while the caller is busy with the last text, the provider is not the silent one. */
  reading(active: boolean): void
  /** Clears its timer. Call it however the attempt ends. */
  stop(): void
}

export type WatchdogOptions = {
  clock: Clock
  timeouts: AiTimeouts
  /** Of the whole call, on the clock's monotonic scale. */
  deadlineMs: number
  /** Called once, after `expired` is set. */
  giveUp: () => void
}

/** One timer for each attempt: a chunk only moves a number, and the timer looks at it when it fires. */
export function createWatchdog({ clock, timeouts, deadlineMs, giveUp }: WatchdogOptions): Watchdog {
  const startedMs = clock.monotonicMs()
  let phase: WatchPhase = 'connect'
  let expired: WatchPhase | 'deadline' | null = null
  let isReading = true
  let isFresh = false
  const shorterAtFirst = timeouts.connectMs < timeouts.firstTokenMs ? 'connect' : 'first_token'
  let limitMs = startedMs + Math.min(timeouts.connectMs, timeouts.firstTokenMs)
  let firesAtMs = 0
  let timer: NodeJS.Timeout | undefined

  function arm(nowMs: number): void {
    clearTimeout(timer)
    // While the caller is busy only the deadline counts; one look in each idle time keeps that simple.
    const dueMs = isReading ? limitMs : nowMs + timeouts.idleMs
    firesAtMs = Math.min(dueMs, deadlineMs)
    timer = setTimeout(look, Math.max(1, Math.ceil(firesAtMs - nowMs)))
  }

  function look(): void {
    const nowMs = clock.monotonicMs()
    if (nowMs >= deadlineMs) expired = 'deadline'
    else if (isReading && nowMs >= limitMs) expired = phase === 'connect' ? shorterAtFirst : phase
    if (expired === null) arm(nowMs)
    else giveUp()
  }

  function enter(next: WatchPhase, untilMs: number): void {
    phase = next
    limitMs = untilMs
    if (expired === null && timer !== undefined && untilMs < firesAtMs) arm(clock.monotonicMs())
  }

  arm(startedMs)
  return {
    get expired() {
      return expired
    },
    connected() {
      if (phase === 'connect') enter('first_token', startedMs + timeouts.firstTokenMs)
    },
    chunkArrived(hasToken) {
      if (phase === 'first_token' && hasToken) phase = 'idle'
      isFresh = true
    },
    trailer(maxMs) {
      enter('trailer', clock.monotonicMs() + Math.min(maxMs, timeouts.idleMs))
    },
    reading(active) {
      isReading = active
      if (!active || !isFresh || phase !== 'idle') return
      isFresh = false
      enter('idle', clock.monotonicMs() + timeouts.idleMs)
    },
    stop() {
      clearTimeout(timer)
      timer = undefined
    },
  }
}
