import type { Clock } from '../lib/clock.ts'

/** Counts messages: true as long as they are no more than `perSecond`, of which as many may come at once. */
export function createMessageMeter(perSecond: number, clock: Clock): () => boolean {
  let room = perSecond
  let lastMs = clock.monotonicMs()

  return () => {
    const nowMs = clock.monotonicMs()
    room = Math.min(perSecond, room + ((nowMs - lastMs) * perSecond) / 1_000)
    lastMs = nowMs
    if (room < 1) return false
    room -= 1
    return true
  }
}
