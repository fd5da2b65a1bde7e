import { expect, test } from 'vitest'
import { newId } from '../../src/lib/ids.ts'
import { sleep } from '../../src/lib/sleep.ts'
import type { Bucket, RateLimits } from '../../src/platform/rate-limit/rate-limit.ts'

/** Two takers of the same buckets: the same object in process, two connections elsewhere. */
export type StartedRateLimits = { one: RateLimits; other: RateLimits } & AsyncDisposable

const bucketOf = (requestsPerMinute: number | null, tokensPerMinute: number | null, key = newId()): Bucket => ({
  key,
  requestsPerMinute,
  tokensPerMinute,
})

/** What every driver of RateLimits keeps. */
export function rateLimitsContract(start: () => Promise<StartedRateLimits>): void {
  test('lets a minute’s worth pass at once, and then says when the next may', async () => {
    await using limits = await start()
    const bucket = bucketOf(3, null)
    for (let n = 0; n < 3; n += 1) expect(await limits.one.take([bucket], 1_000_000)).toEqual({ ok: true })

    const refused = await limits.one.take([bucket], 0)

    expect(refused).toMatchObject({ ok: false, bucket: 0, lacks: 'requests' })
    expect(waitOf(refused)).toBeGreaterThan(0)
    expect(waitOf(refused)).toBeLessThanOrEqual(20_000)
  })

  test('counts requests and tokens together, and takes neither when one lacks', async () => {
    await using limits = await start()
    const bucket = bucketOf(2, 1_000)
    expect(await limits.one.take([bucket], 900)).toEqual({ ok: true })
    // A hundred refusals: had one of them taken a request, there would be none for the last call.
    for (let n = 0; n < 100; n += 1) {
      expect(await limits.one.take([bucket], 900)).toMatchObject({ ok: false, lacks: 'tokens' })
    }

    expect(await limits.one.take([bucket], 50)).toEqual({ ok: true })
    expect(await limits.one.take([bucket], 0)).toMatchObject({ ok: false, lacks: 'requests' })
  })

  test('takes from all buckets or from none', async () => {
    await using limits = await start()
    const [wide, narrow] = [bucketOf(1, null), bucketOf(null, 10)]
    await limits.one.take([narrow], 10)

    expect(await limits.one.take([wide, narrow], 10)).toMatchObject({ ok: false, bucket: 1, lacks: 'tokens' })
    expect(await limits.one.take([wide], 10)).toEqual({ ok: true })
  })

  test('names the bucket that one has to wait for longest', async () => {
    await using limits = await start()
    const [quick, slow] = [bucketOf(60, null), bucketOf(1, null)]
    for (let n = 0; n < 60; n += 1) await limits.one.take([quick], 0)
    await limits.one.take([slow], 0)

    expect(await limits.one.take([quick, slow], 0)).toMatchObject({ ok: false, bucket: 1 })
  })

  test('fills evenly, by fractions', async () => {
    await using limits = await start()
    // One request in 50 ms.
    const bucket = bucketOf(1_200, null)
    await limits.one.correct([bucket], { requests: -1_200, tokens: 0 })
    const refused = await limits.one.take([bucket], 0)
    expect(waitOf(refused)).toBeLessThanOrEqual(50)
    await sleep(waitOf(refused) + 1, new AbortController().signal)

    expect(await limits.one.take([bucket], 0)).toEqual({ ok: true })
  })

  test('is never more than full', async () => {
    await using limits = await start()
    const bucket = bucketOf(1, 10)
    await limits.one.correct([bucket], { requests: 50, tokens: 50 })

    expect(await limits.one.take([bucket], 10)).toEqual({ ok: true })
    expect(await limits.one.take([bucket], 0)).toMatchObject({ ok: false, lacks: 'requests' })
  })

  test('corrects a reservation by what was really used, into debt if need be', async () => {
    await using limits = await start()
    const bucket = bucketOf(null, 1_000)
    await limits.one.take([bucket], 1_000)
    await limits.one.correct([bucket], { requests: 0, tokens: 600 })
    expect(await limits.one.take([bucket], 600)).toEqual({ ok: true })
    await limits.one.correct([bucket], { requests: 0, tokens: -2_000 })

    const refused = await limits.one.take([bucket], 1)

    // Two minutes' worth and one token.
    expect(waitOf(refused)).toBeGreaterThan(100_000)
    expect(waitOf(refused)).toBeLessThanOrEqual(120_060)
  })

  test('lets a request pass that is larger than its bucket, when that is full, and is in debt then', async () => {
    await using limits = await start()
    const bucket = bucketOf(null, 1_000)

    expect(await limits.one.take([bucket], 5_000)).toEqual({ ok: true })
    expect(waitOf(await limits.one.take([bucket], 1_000))).toBeGreaterThan(200_000)
  })

  test('follows a limit that is changed', async () => {
    await using limits = await start()
    const key = newId()
    await limits.one.take([bucketOf(100, null, key)], 0)

    expect(await limits.one.take([bucketOf(1, 1, key)], 1)).toEqual({ ok: true })
    expect(await limits.one.take([bucketOf(1, 1, key)], 0)).toMatchObject({ ok: false, lacks: 'requests' })
    expect(await limits.one.take([bucketOf(null, null, key)], 1_000)).toEqual({ ok: true })
  })

  test('lets no more pass than there is, however many ask at once', async () => {
    await using limits = await start()
    const buckets = [bucketOf(20, null), bucketOf(null, 1_000)]
    const takes = await Promise.all(
      Array.from({ length: 200 }, (_, n) => (n % 2 === 0 ? limits.one : limits.other).take(buckets, 10)),
    )

    // A slow machine may be given one more by the refill.
    const passed = takes.filter(({ ok }) => ok).length
    expect(passed).toBeGreaterThanOrEqual(20)
    expect(passed).toBeLessThanOrEqual(22)
  })

  test('needs no bucket', async () => {
    await using limits = await start()
    expect(await limits.one.take([], 10)).toEqual({ ok: true })
    await limits.one.correct([], { requests: 0, tokens: 5 })
  })
}

function waitOf(take: Awaited<ReturnType<RateLimits['take']>>): number {
  return take.ok ? 0 : take.retryAfterMs
}
