import { expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { createInProcessCache } from '../../../src/platform/cache/in-process.ts'
import { cacheContract } from '../../contracts/cache.ts'

cacheContract(async () => {
  const cache = createInProcessCache({ clock: systemClock })
  return { one: cache, other: cache, [Symbol.asyncDispose]: () => cache.close() }
})

test('takes no more memory than it may: what was used longest ago goes first', async () => {
  const cache = createInProcessCache({ clock: systemClock, maxBytes: 10_000 })
  for (const key of ['a', 'b', 'c']) await cache.set(key, 'x'.repeat(1_500), 60_000)
  await cache.get('a')
  await cache.set('d', 'x'.repeat(1_500), 60_000)

  expect(await Promise.all(['a', 'b', 'c', 'd'].map(async (key) => (await cache.get(key)) !== null))).toEqual([
    true,
    false,
    true,
    true,
  ])
})
