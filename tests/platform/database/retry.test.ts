import { expect, test } from 'vitest'
import { withRetry } from '../../../src/platform/database/retry.ts'

const collision = (): Error => Object.assign(new Error('deadlock detected'), { code: '40P01' })

function recorded() {
  const waitedMs: number[] = []
  const sleep = async (ms: number): Promise<void> => void waitedMs.push(ms)
  return { waitedMs, options: { maxAttempts: 4, random: () => 0.999, sleep, signal: new AbortController().signal } }
}

test('waits longer before each try, with full jitter, and gives the first result', async () => {
  const { waitedMs, options } = recorded()
  const outcomes = [collision(), collision(), collision(), 'done']
  const result = await withRetry(async () => {
    const outcome = outcomes.shift()
    if (outcome instanceof Error) throw outcome
    return outcome
  }, options)
  expect(result).toBe('done')
  expect(waitedMs).toEqual([24, 49, 99])
})

test('throws what is not about the database at once, as it is', async () => {
  const { waitedMs, options } = recorded()
  const failure = new TypeError('a bug')
  await expect(withRetry(() => Promise.reject(failure), options)).rejects.toBe(failure)
  expect(waitedMs).toEqual([])
})

test('does not try again while the database is being closed', async () => {
  const { waitedMs, options } = recorded()
  const signal = AbortSignal.abort(new Error('closing'))
  const attempt = withRetry(() => Promise.reject(collision()), { ...options, signal })
  await expect(attempt).rejects.toMatchObject({ code: 'SERVER_BUSY' })
  expect(waitedMs).toEqual([])
})
