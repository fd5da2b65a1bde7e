import { expect, test } from 'vitest'
import { interruptible } from '../../src/lib/interruptible.ts'

type Log = string[]

function counting(log: Log, last = 3): AsyncGenerator<number, void, undefined> {
  return interruptible(
    async function* () {
      log.push('started')
      for (let n = 1; n <= last; n += 1) yield n
    },
    async () => void log.push('released'),
  )
}

/** Yields nothing until its signal is aborted. */
function silent(log: Log): AsyncGenerator<number, void, undefined> {
  return interruptible(
    async function* (signal) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      log.push('stopped')
      yield* []
    },
    async () => void log.push('released'),
  )
}

test('gives what the generator gives, and releases once at its end', async () => {
  const log: Log = []
  const seen: number[] = []
  const generator = counting(log)
  for await (const n of generator) seen.push(n)
  await generator.return()

  expect(seen).toEqual([1, 2, 3])
  expect(log).toEqual(['started', 'released'])
})

test('releases when the consumer leaves early', async () => {
  const log: Log = []
  for await (const n of counting(log)) if (n === 2) break

  expect(log).toEqual(['started', 'released'])
})

test('releases when it was never started', async () => {
  const log: Log = []
  const generator = counting(log)

  expect(await generator.return()).toEqual({ done: true, value: undefined })
  expect(log).toEqual(['released'])
  expect(await generator.next()).toEqual({ done: true, value: undefined })
})

test('ends a silent wait at once when the consumer leaves', async () => {
  const log: Log = []
  const generator = silent(log)
  const next = generator.next()
  await generator.return()

  expect(await next).toEqual({ done: true, value: undefined })
  expect(log).toEqual(['released', 'stopped'])
})

test('releases and hands on what the generator throws', async () => {
  const log: Log = []
  const generator = interruptible(
    async function* () {
      yield* []
      throw new Error('broken')
    },
    async () => void log.push('released'),
  )

  await expect(generator.next()).rejects.toThrow('broken')
  expect(log).toEqual(['released'])
})
