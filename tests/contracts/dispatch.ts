import { expect, test } from 'vitest'
import type { Dispatch } from '../../src/platform/dispatch/dispatch.ts'

/** What every driver of Dispatch keeps. `start` gives one that holds at most three waiting hints of an agent. */
export function dispatchContract(start: () => Promise<{ dispatch: Dispatch } & AsyncDisposable>): void {
  test('delivers hints in the order they were given', async () => {
    await using started = await start()
    const { dispatch } = started
    for (const agentId of ['a', 'b', 'a', 'c']) await dispatch.hint(agentId)

    expect(await collect(dispatch, 4)).toEqual(['a', 'b', 'a', 'c'])
  })

  test('delivers what is hinted at while it waits', async () => {
    await using started = await start()
    const { dispatch } = started
    const delivered = collect(dispatch, 1)

    await dispatch.hint('late')

    expect(await delivered).toEqual(['late'])
  })

  test('gives no hint before the one before it has been taken', async () => {
    await using started = await start()
    const { dispatch } = started
    const taken: string[] = []
    let takeFirst = (): void => undefined
    const isFirstTaken = new Promise<void>((resolve) => (takeFirst = resolve))
    let sawFirst = (): void => undefined
    const first = new Promise<void>((resolve) => (sawFirst = resolve))
    const stop = dispatch.consume(async (agentId) => {
      taken.push(agentId)
      sawFirst()
      await isFirstTaken
    })
    await dispatch.hint('a')
    await dispatch.hint('b')
    await first
    const stopped = stop()
    takeFirst()
    await stopped

    expect(taken).toEqual(['a'])
    expect(await collect(dispatch, 1)).toEqual(['b'])
  })

  test('delivers a hint that comes while one of the same agent is being handled', async () => {
    await using started = await start()
    const { dispatch } = started
    let delivered = 0
    let done = (): void => undefined
    const isDone = new Promise<void>((resolve) => (done = resolve))
    const stop = dispatch.consume(async (agentId) => {
      delivered += 1
      if (delivered === 1) await dispatch.hint(agentId)
      else done()
    })
    await dispatch.hint('a')

    await isDone
    await stop()
    expect(delivered).toBe(2)
  })

  test('counts only hints that wait: those taken make room', async () => {
    await using started = await start()
    const { dispatch } = started
    for (let n = 0; n < 5; n += 1) {
      const delivered = collect(dispatch, 2)
      await dispatch.hint('a')
      await dispatch.hint('a')
      expect(await delivered).toEqual(['a', 'a'])
    }
  })

  test('bounds the hints that are given at once, too', async () => {
    await using started = await start()
    const { dispatch } = started
    await Promise.all(Array.from({ length: 100 }, () => dispatch.hint('busy')))
    await dispatch.hint('other')

    expect(await collectUntil(dispatch, (hints) => hints.at(-1) === 'other')).toEqual(['busy', 'busy', 'busy', 'other'])
  })

  test('stops while it waits for a hint', async () => {
    await using started = await start()
    const { dispatch } = started
    const stop = dispatch.consume(async () => {})
    await stop()
    await dispatch.hint('a')

    expect(await collect(dispatch, 1)).toEqual(['a'])
  })

  test('delivers nothing once it is closed, and takes hints without a complaint', async () => {
    await using started = await start()
    const { dispatch } = started
    const delivered: string[] = []
    dispatch.consume(async (agentId) => void delivered.push(agentId))
    await dispatch.close()

    await expect(dispatch.hint('late')).resolves.toBeUndefined()
    expect(delivered).toEqual([])
  })

  test('bounds the waiting hints of an agent, and of each one alone', async () => {
    await using started = await start()
    const { dispatch } = started
    for (let n = 0; n < 100; n += 1) await dispatch.hint('busy')
    await dispatch.hint('other')

    const delivered = await collectUntil(dispatch, (hints) => hints.at(-1) === 'other')

    expect(delivered.length).toBeLessThanOrEqual(4)
    expect(delivered.at(-1)).toBe('other')
  })

  test('goes on after a handler that throws', async () => {
    await using started = await start()
    const { dispatch } = started
    await dispatch.hint('bad')
    await dispatch.hint('good')
    let done = (): void => undefined
    const isDone = new Promise<void>((resolve) => (done = resolve))
    const stop = dispatch.consume(async (agentId) => {
      if (agentId === 'bad') throw new Error('a bug')
      done()
    })

    await isDone
    await stop()
  })
}

function collect(dispatch: Dispatch, count: number): Promise<string[]> {
  return collectUntil(dispatch, (delivered) => delivered.length === count)
}

async function collectUntil(
  dispatch: Dispatch,
  isEnough: (delivered: readonly string[]) => boolean,
): Promise<string[]> {
  const delivered: string[] = []
  let done = (): void => undefined
  const isDone = new Promise<void>((resolve) => (done = resolve))
  const stop = dispatch.consume(async (agentId) => {
    delivered.push(agentId)
    if (isEnough(delivered)) done()
  })
  await isDone
  await stop()
  return delivered
}
