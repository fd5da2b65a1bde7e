import { setTimeout as delay } from 'node:timers/promises'

const pollMs = 20

/** Reads until it is as expected, for what no event tells; fails after `timeoutMs` with what it waited for and what it last saw. */
export async function until<Value>(
  what: string,
  read: () => Promise<Value>,
  isExpected: (value: Value) => boolean,
  timeoutMs = 15_000,
): Promise<Value> {
  const deadlineMs = performance.now() + timeoutMs
  for (;;) {
    const value = await read()
    if (isExpected(value)) return value
    if (performance.now() > deadlineMs) {
      throw new Error(`waited ${timeoutMs} ms for this: ${what}; last seen: ${JSON.stringify(value)}`)
    }
    await delay(pollMs)
  }
}
