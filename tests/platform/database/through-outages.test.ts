import { expect, test } from 'vitest'
import { AppError, ServerBusyError, ServiceUnavailableError } from '../../../src/lib/errors.ts'
import { maxOutageRetries, throughOutages } from '../../../src/platform/database/through-outages.ts'

/** Fails with these errors one after another, and then gives how often it was called. */
function failing(...errors: readonly Error[]): () => Promise<number> {
  let calls = 0
  return async () => {
    const error = errors[calls++]
    if (error !== undefined) throw error
    return calls
  }
}

const away = () => new ServiceUnavailableError('The database is away.')
const noWait = { random: () => 0 }

test('writes again until the database is back, and says once that it waits', async () => {
  const told: unknown[] = []
  const first = away()

  const calls = await throughOutages(failing(first, new ServerBusyError('Busy.'), away()), {
    ...noWait,
    onOutage: (error) => told.push(error),
  })

  expect(calls).toBe(4)
  expect(told).toEqual([first])
})

test('gives up at once what is no outage', async () => {
  const refused = new AppError('CONFLICT', 'There is one already.')
  const write = failing(away(), refused)

  await expect(throughOutages(write, noWait)).rejects.toBe(refused)
  expect(await write()).toBe(3)
})

test('gives up an outage that does not end', async () => {
  const write = failing(...Array.from({ length: maxOutageRetries + 5 }, away))

  await expect(throughOutages(write, noWait)).rejects.toBeInstanceOf(ServiceUnavailableError)
  // One try and all retries: four failures are left.
  for (let left = 0; left < 4; left += 1) await expect(write()).rejects.toThrow('The database is away.')
  await expect(write()).resolves.toBeGreaterThan(0)
})

test('ends its wait with the outage when there is no more time', async () => {
  const control = new AbortController()
  const outage = away()
  const written = throughOutages(failing(outage), {
    // The longest wait.
    random: () => 0.999,
    signal: control.signal,
    onOutage: () => control.abort(new Error('closing')),
  })

  await expect(written).rejects.toBe(outage)
})
