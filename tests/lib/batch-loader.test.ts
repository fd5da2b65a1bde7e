import { expect, test } from 'vitest'
import { batchLoader, batchLoadersBy } from '../../src/lib/batch-loader.ts'

test('loads together what is asked for together, and asks again for what is asked for later', async () => {
  const batches: (readonly number[])[] = []
  const loader = batchLoader(async (keys: readonly number[]) => {
    batches.push(keys)
    return keys.map((key) => key * 2)
  })
  expect(await Promise.all([loader.load(1), loader.load(2), loader.load(1)])).toEqual([2, 4, 2])
  expect(await loader.load(1)).toBe(2)
  expect(batches).toEqual([[1, 2, 1], [1]])
})

test('loads together what comes with equal options', async () => {
  const batches: unknown[] = []
  const loaders = batchLoadersBy(async (keys: readonly string[], options: { size: number }) => {
    batches.push([keys, options])
    return keys.map((key) => key.repeat(options.size))
  })
  const loads = [loaders({ size: 1 }).load('a'), loaders({ size: 2 }).load('a'), loaders({ size: 1 }).load('b')]
  expect(await Promise.all(loads)).toEqual(['a', 'aa', 'b'])
  expect(batches).toEqual([
    [['a', 'b'], { size: 1 }],
    [['a'], { size: 2 }],
  ])
})

test('fails each load with what the batch failed with', async () => {
  const loader = batchLoader(async (): Promise<string[]> => {
    throw new Error('no database')
  })
  await expect(loader.load('a')).rejects.toThrow('no database')
})
