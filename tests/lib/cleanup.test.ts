import { expect, test } from 'vitest'
import { createCleanup } from '../../src/lib/cleanup.ts'

test('releases last in, first out, each once', async () => {
  const released: string[] = []
  const cleanup = createCleanup()
  for (const name of ['database', 'worker', 'server']) cleanup.add(name, () => void released.push(name))

  await Promise.all([cleanup.run(), cleanup.run()])
  await cleanup.run()

  expect(released).toEqual(['server', 'worker', 'database'])
})

test('goes on after a release that fails, and says which did', async () => {
  const released: string[] = []
  const cleanup = createCleanup()
  cleanup.add('database', () => void released.push('database'))
  cleanup.add('worker', () => Promise.reject(new Error('stuck')))

  await expect(cleanup.run()).rejects.toThrow('releasing worker failed')
  expect(released).toEqual(['database'])
})

test('waits for no release for longer than the limit, begins the others, and says which were not done', async () => {
  const begun: string[] = []
  const cleanup = createCleanup()
  cleanup.add('database', () => {
    begun.push('database')
    return new Promise<void>(() => undefined)
  })
  cleanup.add('worker', () => {
    begun.push('worker')
    return new Promise<void>(() => undefined)
  })
  cleanup.add('server', () => void begun.push('server'))

  await expect(cleanup.run(50)).rejects.toThrow(/^releasing worker failed; releasing database failed$/)
  expect(begun).toEqual(['server', 'worker', 'database'])
})
