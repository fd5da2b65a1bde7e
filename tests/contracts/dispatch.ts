import { expect, test } from 'vitest'
import type { Dispatch } from '../../src/platform/dispatch/dispatch.ts'

/** What every driver of Dispatch keeps. `start` gives one that holds at most three waiting hints of a workspace. */
export function dispatchContract(start: () => Promise<{ dispatch: Dispatch } & AsyncDisposable>): void {
  test('delivers hints in the order they were given', async () => {
    await using started = await start()
    const { dispatch } = started
    for (const workspaceId of ['a', 'b', 'a', 'c']) await dispatch.hint(workspaceId)

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
    const stop = dispatch.consume(async (workspaceId) => {
      taken.push(workspaceId)
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

  test('leaves hints to others until it is ready for one', async () => {
    await using started = await start()
    const { dispatch } = started
    const taken: string[] = []
    let getReady = (): void => undefined
    const isReady = new Promise<void>((resolve) => (getReady = resolve))
    const stop = dispatch.consume(
      async (workspaceId) => void taken.push(workspaceId),
      () => isReady,
    )
    await dispatch.hint('a')

    expect(await collect(dispatch, 1)).toEqual(['a'])
    const stopped = stop()
    await dispatch.hint('b')
    getReady()
    await stopped

    expect(taken).toEqual([])
    expect(await collect(dispatch, 1)).toEqual(['b'])
  })

  test('delivers a hint that comes while one of the same workspace is being handled', async () => {
    await using started = await start()
    const { dispatch } = started
    let delivered = 0
    let done = (): void => undefined
    const isDone = new Promise<void>((resolve) => (done = resolve))
    const stop = dispatch.consume(async (workspaceId) => {
      delivered += 1
      if (delivered === 1) await dispatch.hint(workspaceId)
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
    dispatch.consume(async (workspaceId) => void delivered.push(workspaceId))
    await dispatch.close()

    await expect(dispatch.hint('late')).resolves.toBeUndefined()
    expect(delivered).toEqual([])
  })

  test('bounds the waiting hints of a workspace, and of each one alone', async () => {
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
    const stop = dispatch.consume(async (workspaceId) => {
      if (workspaceId === 'bad') throw new Error('a bug')
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
  const stop = dispatch.consume(async (workspaceId) => {
    delivered.push(workspaceId)
    if (isEnough(delivered)) done()
  })
  await isDone
  await stop()
  return delivered
}
