import { expect, test } from 'vitest'
import type { Attempt, Throttles } from '../../src/platform/throttle/throttles.ts'
import { until } from '../support/until.ts'

/** Two ends: the same object in process, two processes' connections elsewhere. */
export type StartedThrottles = { one: Throttles; other: Throttles } & AsyncDisposable

const minute = { windowSeconds: 60 }
const attempts = { name: 'attempts', maxFailures: 3, windowSeconds: 60, firstLockSeconds: 30, maxLockSeconds: 100 }

/** What every driver of Throttles keeps. */
export function throttlesContract(start: () => Promise<StartedThrottles>): void {
  test('allows as much as there is, and says what is left and until when', async () => {
    await using limits = await start()
    const limit = limits.one.window({ name: 'a', points: 3, ...minute })
    const taken = [await limit.take('x'), await limit.take('x', 2), await limit.take('x')]
    expect(taken.map(({ isAllowed, remaining }) => [isAllowed, remaining])).toEqual([
      [true, 2],
      [true, 0],
      [false, 0],
    ])
    for (const { resetMs } of taken) {
      expect(resetMs).toBeGreaterThan(0)
      expect(resetMs).toBeLessThanOrEqual(60_000)
    }
  })

  test('counts each key and each name for itself', async () => {
    await using limits = await start()
    const a = limits.one.window({ name: 'a', points: 1, ...minute })
    const b = limits.one.window({ name: 'b', points: 1, ...minute })
    expect((await a.take('x')).isAllowed).toBe(true)
    expect((await a.take('y')).isAllowed).toBe(true)
    expect((await b.take('x')).isAllowed).toBe(true)
    expect((await a.take('x')).isAllowed).toBe(false)
  })

  test('allows no more when many ask at once, on both ends', async () => {
    await using limits = await start()
    const ends = [limits.one, limits.other].map((end) => end.window({ name: 'a', points: 25, ...minute }))
    const taken = await Promise.all(ends.flatMap((end) => Array.from({ length: 50 }, () => end.take('x'))))
    expect(taken.filter(({ isAllowed }) => isAllowed)).toHaveLength(25)
  })

  test('begins anew when the window has ended', async () => {
    await using limits = await start()
    const limit = limits.one.window({ name: 'a', points: 1, windowSeconds: 1 })
    await limit.take('x')
    expect((await limit.take('x')).isAllowed).toBe(false)
    await until(
      'the window ends',
      () => limit.take('x'),
      ({ isAllowed }) => isAllowed,
    )
  })

  test('takes any text for a key', async () => {
    await using limits = await start()
    const limit = limits.one.window({ name: 'a', points: 1, ...minute })
    for (const key of ['', '__proto__', 'constructor', 'a:b', '*', 'ü😀', '\r\nDEL x'])
      expect((await limit.take(key)).isAllowed).toBe(true)
  })

  test('refuses attempts once too many have not succeeded', async () => {
    await using limits = await start()
    const limit = limits.one.attempts(attempts)
    for (let n = 0; n < 3; n += 1) expect(await limit.begin('x')).toMatchObject({ isAllowed: true })
    const refused = await limit.begin('x')
    expect(refused.isAllowed).toBe(false)
    expect(resetMsOf(refused)).toBeGreaterThan(25_000)
    expect(resetMsOf(refused)).toBeLessThanOrEqual(30_000)
    expect(await limit.begin('y')).toMatchObject({ isAllowed: true })
    expect(await limits.other.attempts(attempts).begin('x')).toMatchObject({ isAllowed: false })
  })

  test('lets no more through when many attempts begin at once', async () => {
    await using limits = await start()
    const ends = [limits.one.attempts(attempts), limits.other.attempts(attempts)]
    const begun = await Promise.all(ends.flatMap((end) => Array.from({ length: 20 }, () => end.begin('x'))))
    expect(begun.filter(({ isAllowed }) => isAllowed)).toHaveLength(3)
  })

  test('forgets the failures after a success', async () => {
    await using limits = await start()
    const limit = limits.one.attempts(attempts)
    await limit.begin('x')
    await limit.begin('x')
    await succeed(await limit.begin('x'))
    for (let n = 0; n < 3; n += 1) expect(await limit.begin('x')).toMatchObject({ isAllowed: true })
    expect(await limit.begin('x')).toMatchObject({ isAllowed: false })
  })

  test('does not count an attempt that came to nothing, also when it was the last', async () => {
    await using limits = await start()
    const limit = limits.one.attempts(attempts)
    for (let n = 0; n < 10; n += 1) await abandon(await limit.begin('x'))
    await limit.begin('x')
    await limit.begin('x')
    await abandon(await limit.begin('x'))
    expect(await limit.begin('x')).toMatchObject({ isAllowed: true })
    expect(await limit.begin('x')).toMatchObject({ isAllowed: false })
  })

  test('locks twice as long each time, up to the maximum', async () => {
    await using limits = await start()
    const limit = limits.one.attempts({ ...attempts, maxFailures: 1, firstLockSeconds: 1, maxLockSeconds: 3 })
    const locks: number[] = []
    for (let n = 0; n < 3; n += 1) {
      await until(
        'an attempt is allowed',
        () => limit.begin('x'),
        ({ isAllowed }) => isAllowed,
      )
      locks.push(Math.ceil(resetMsOf(await limit.begin('x')) / 1_000))
    }
    expect(locks).toEqual([1, 2, 3])
  })
}

function resetMsOf(attempt: Attempt): number {
  if (attempt.isAllowed) throw new Error('the attempt was allowed')
  return attempt.resetMs
}

async function succeed(attempt: Attempt): Promise<void> {
  if (!attempt.isAllowed) throw new Error('the attempt was refused')
  await attempt.succeeded()
}

async function abandon(attempt: Attempt): Promise<void> {
  if (!attempt.isAllowed) throw new Error('the attempt was refused')
  await attempt.abandoned()
}
