import { expect, test } from 'vitest'
import { maxValueChars, type Cache } from '../../src/platform/cache/cache.ts'
import { until } from '../support/until.ts'

/** Two ends of one cache: the same object in process, two connections elsewhere. */
export type StartedCache = { one: Cache; other: Cache } & AsyncDisposable

const longMs = 600_000

/** What every driver of Cache keeps. */
export function cacheContract(start: () => Promise<StartedCache>): void {
  test('keeps a text for everybody, as it is', async () => {
    await using cache = await start()
    const text = 'ü😀\u0000"\n'
    await cache.one.set('a', text, longMs)

    expect([await cache.other.get('a'), await cache.other.get('b')]).toEqual([text, null])
    await cache.other.set('a', 'newer', longMs)
    expect(await cache.one.get('a')).toBe('newer')
  })

  test('forgets it in time', async () => {
    await using cache = await start()
    await cache.one.set('a', 'x', 30)
    await cache.one.set('b', 'y', longMs)

    await until(
      'it is forgotten',
      () => cache.other.get('a'),
      (value) => value === null,
    )
    expect(await cache.other.get('b')).toBe('y')
  })

  test('keeps nothing that is too large', async () => {
    await using cache = await start()
    await cache.one.set('most', 'x'.repeat(maxValueChars), longMs)
    await cache.one.set('more', 'x'.repeat(maxValueChars + 1), longMs)

    expect([(await cache.one.get('most'))?.length, await cache.one.get('more')]).toEqual([maxValueChars, null])
  })

  test('lets one of many lead, and gives all the value once it is there', async () => {
    await using cache = await start()
    const names = Array.from({ length: 20 }, (_, n) => `leader-${n}`)
    const lookups = await Promise.all(
      names.map((name, n) => (n % 2 === 0 ? cache.one : cache.other).getOrLead('a', name, longMs)),
    )

    expect(lookups.map(({ kind }) => kind).toSorted()).toEqual(['lead', ...Array.from({ length: 19 }, () => 'led')])
    await cache.one.set('a', 'made', longMs)
    expect(await cache.other.getOrLead('a', 'late', longMs)).toEqual({ kind: 'value', value: 'made' })
  })

  test('lets another lead when the first gives it up, and only the leader can', async () => {
    await using cache = await start()
    await cache.one.getOrLead('a', 'first', longMs)
    await cache.other.release('a', 'second')
    expect(await cache.other.getOrLead('a', 'second', longMs)).toEqual({ kind: 'led' })

    await cache.one.release('a', 'first')
    expect(await cache.other.getOrLead('a', 'second', longMs)).toEqual({ kind: 'lead' })
    await cache.one.release('a', 'first')
    expect(await cache.one.getOrLead('a', 'first', longMs)).toEqual({ kind: 'led' })
  })

  test('lets another lead when the first is not heard of any more', async () => {
    await using cache = await start()
    await cache.one.getOrLead('a', 'first', 30)

    await until(
      'another leads',
      () => cache.other.getOrLead('a', 'second', longMs),
      ({ kind }) => kind === 'lead',
    )
    await cache.one.extend('a', 'first', 1)
    expect(await cache.one.getOrLead('a', 'third', longMs)).toEqual({ kind: 'led' })
  })

  test('a leader can lead on', async () => {
    await using cache = await start()
    await cache.one.getOrLead('a', 'first', 5_000)
    await cache.one.extend('a', 'first', 30)

    await until(
      'the shorter lease is over',
      () => cache.other.getOrLead('a', 'second', longMs),
      ({ kind }) => kind === 'lead',
    )
  })
}
