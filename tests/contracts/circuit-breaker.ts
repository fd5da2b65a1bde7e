import { expect, test } from 'vitest'
import { newId } from '../../src/lib/ids.ts'
import {
  defaultBreakerRules,
  type BreakerAdmission,
  type BreakerRules,
  type BreakerVerdict,
  type CircuitBreakers,
} from '../../src/platform/circuit-breaker/circuit-breaker.ts'

/** Two that use the same breakers: the same object in process, two connections elsewhere. */
export type StartedBreakers = { one: CircuitBreakers; other: CircuitBreakers } & AsyncDisposable

const succeeded: BreakerVerdict = { result: 'succeeded', reason: '', coolDownMs: 0 }
const failed: BreakerVerdict = { result: 'failed', reason: 'server_error', coolDownMs: 0 }
const none: BreakerVerdict = { result: 'none', reason: '', coolDownMs: 0 }
const coolDown = (coolDownMs: number): BreakerVerdict => ({ result: 'none', reason: 'rate_limited', coolDownMs })

/** Open for long enough that a slow machine does not see the end of it by accident. */
const rules: BreakerRules = { ...defaultBreakerRules, openMs: 20_000, maxOpenMs: 60_000 }
/** Open for so short that a test can wait for it. */
const shortRules: BreakerRules = { ...rules, openMs: 50, maxOpenMs: 60_000 }

/** What every driver of CircuitBreakers keeps. */
export function circuitBreakersContract(start: (rules: BreakerRules) => Promise<StartedBreakers>): void {
  test('the rules are the documented ones', () => {
    expect(defaultBreakerRules).toEqual({
      windowMs: 60_000,
      minCalls: 10,
      failureRate: 0.5,
      consecutiveFailures: 5,
      openMs: 5_000,
      maxOpenMs: 30_000,
      successesToClose: 2,
      probeLeaseMs: 30_000,
    })
  })

  test('opens after five failures in a row, not four, for everybody', async () => {
    await using breakers = await start(rules)
    const key = newId()
    await call(breakers.one, key, [failed, failed, failed, failed, succeeded, failed, failed, failed, failed])
    expect(await breakers.other.inspect([key])).toEqual([{ state: 'CLOSED', reason: null, availableInMs: null }])
    await call(breakers.other, key, [failed])

    const refused = await breakers.one.admit(key)

    expect(refused).toMatchObject({ kind: 'refused', state: 'OPEN', reason: 'server_error' })
    expect(waitOf(refused)).toBeGreaterThan(5_000)
    expect(waitOf(refused)).toBeLessThanOrEqual(20_000)
    const [status] = await breakers.other.inspect([key])
    expect(status).toMatchObject({ state: 'OPEN', reason: 'server_error' })
    expect(status?.availableInMs).toBeGreaterThan(5_000)
  })

  test('opens when half of at least ten calls failed', async () => {
    await using breakers = await start(rules)
    const key = newId()
    const half = [succeeded, failed, succeeded, failed, succeeded, failed, succeeded, failed, succeeded]
    await call(breakers.one, key, half)
    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'admitted' })
    await call(breakers.one, key, [failed])

    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'refused', state: 'OPEN' })
  })

  test('stays closed when fewer than half of the calls fail', async () => {
    await using breakers = await start(rules)
    const key = newId()
    for (let n = 0; n < 30; n += 1) await call(breakers.one, key, n % 3 === 0 ? [failed] : [succeeded])

    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'admitted' })
  })

  test('forgets what is older than the window', async () => {
    await using breakers = await start({ ...rules, windowMs: 120, minCalls: 6 })
    const key = newId()
    await call(breakers.one, key, [failed, failed, failed, succeeded])
    await pass(140)
    await call(breakers.one, key, [succeeded, failed, succeeded, failed])

    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'admitted' })
  })

  test('says which verdict opened it', async () => {
    await using breakers = await start(rules)
    const key = newId()
    const said: boolean[] = []
    for (let n = 0; n < 5; n += 1) {
      const admission = await breakers.one.admit(key)
      if (admission.kind === 'admitted') said.push(await breakers.one.settle(key, admission.ticket, failed))
    }

    expect(said).toEqual([false, false, false, false, true])
  })

  test('keeps keys apart', async () => {
    await using breakers = await start(rules)
    const [ill, well] = [newId(), newId()]
    await call(
      breakers.one,
      ill,
      Array.from({ length: 5 }, () => failed),
    )

    expect(await breakers.one.admit(well)).toMatchObject({ kind: 'admitted' })
    expect(await breakers.one.inspect([well, ill])).toMatchObject([{ state: 'CLOSED' }, { state: 'OPEN' }])
  })

  test('lets one probe through when the time is over, whoever asks, and closes after two', async () => {
    await using breakers = await start(shortRules)
    const key = await opened(breakers.one)
    await pass(60)
    expect(await breakers.one.inspect([key])).toEqual([
      { state: 'PROBING', reason: 'server_error', availableInMs: null },
    ])
    const asked = await Promise.all(
      Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? breakers.one : breakers.other).admit(key)),
    )
    const [probe, ...others] = asked.filter(({ kind }) => kind === 'admitted')
    expect(others).toEqual([])
    const refused = asked.find(({ kind }) => kind === 'refused')
    expect(refused).toMatchObject({ state: 'PROBING' })
    expect(waitOf(refused)).toBeLessThanOrEqual(1_000)

    await settle(breakers.one, key, probe, succeeded)
    const second = await breakers.other.admit(key)
    expect(await breakers.one.admit(key)).toMatchObject({ state: 'PROBING' })
    await settle(breakers.other, key, second, succeeded)

    expect(await breakers.one.inspect([key])).toMatchObject([{ state: 'CLOSED' }])
    // Closed, it has forgotten what was before.
    await call(breakers.one, key, [failed, failed, failed, failed])
    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'admitted' })
  })

  test('opens for twice as long each time a probe fails', async () => {
    await using breakers = await start({ ...rules, openMs: 400, maxOpenMs: 12_000 })
    const key = await opened(breakers.one)
    for (const longestMs of [800, 1_600]) {
      await untilAdmitted(breakers.one, key, failed)
      const wait = waitOf(await breakers.one.admit(key))
      expect(wait).toBeLessThanOrEqual(longestMs)
      expect(wait).toBeGreaterThan(0)
    }
  })

  test('opens for no longer than the most', async () => {
    await using breakers = await start({ ...rules, openMs: 50, maxOpenMs: 60 })
    const key = await opened(breakers.one)
    for (let n = 0; n < 4; n += 1) await untilAdmitted(breakers.one, key, failed)

    expect(waitOf(await breakers.one.admit(key))).toBeLessThanOrEqual(60)
  })

  test('gives the probe to the next when one says nothing, and when one never ends', async () => {
    await using breakers = await start({ ...rules, openMs: 400, probeLeaseMs: 300 })
    const key = await opened(breakers.one)
    await pass(410)
    await settle(breakers.one, key, await breakers.one.admit(key), none)
    const lost = await breakers.other.admit(key)
    expect(lost).toMatchObject({ kind: 'admitted' })
    await pass(310)

    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'admitted' })
    // It ends after all, and it is a verdict.
    await settle(breakers.other, key, lost, failed)
    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'refused' })
  })

  test('does not take the end of a call that began before for a verdict on the state after', async () => {
    await using breakers = await start(shortRules)
    const key = newId()
    const early = await Promise.all(Array.from({ length: 10 }, () => breakers.one.admit(key)))
    for (const admission of early.slice(0, 5)) await settle(breakers.one, key, admission, failed)
    await pass(60)
    for (const admission of early.slice(5, 8)) await settle(breakers.one, key, admission, succeeded)
    expect(await breakers.one.inspect([key])).toMatchObject([{ state: 'PROBING' }])
    for (const admission of early.slice(8)) await settle(breakers.one, key, admission, failed)

    expect(await breakers.one.inspect([key])).toMatchObject([{ state: 'PROBING' }])
  })

  test('cools down for as long as it is told, which is no failure', async () => {
    await using breakers = await start(rules)
    const key = newId()
    await call(breakers.one, key, [coolDown(20_000), coolDown(50)])

    const refused = await breakers.other.admit(key)

    expect(refused).toMatchObject({ kind: 'refused', state: 'COOLING_DOWN', reason: 'rate_limited' })
    expect(waitOf(refused)).toBeGreaterThan(5_000)
    expect(await breakers.one.inspect([key])).toMatchObject([{ state: 'COOLING_DOWN', reason: 'rate_limited' }])
  })

  test('lets everything through again after the cooldown, however many there were', async () => {
    await using breakers = await start(rules)
    const key = newId()
    for (let n = 0; n < 12; n += 1) {
      await untilAdmitted(breakers.one, key, coolDown(20))
      await pass(25)
    }

    expect(await breakers.one.admit(key)).toMatchObject({ kind: 'admitted' })
    expect(await breakers.one.inspect([key])).toMatchObject([{ state: 'CLOSED' }])
  })
}

/** Makes calls one after another, each with its verdict. */
async function call(breakers: CircuitBreakers, key: string, verdicts: readonly BreakerVerdict[]): Promise<void> {
  const admissions = await Promise.all(verdicts.map(() => breakers.admit(key)))
  for (const [index, verdict] of verdicts.entries()) await settle(breakers, key, admissions[index], verdict)
}

async function opened(breakers: CircuitBreakers): Promise<string> {
  const key = newId()
  await call(breakers, key, [failed, failed, failed, failed, failed])
  return key
}

async function settle(
  breakers: CircuitBreakers,
  key: string,
  admission: BreakerAdmission | undefined,
  verdict: BreakerVerdict,
): Promise<void> {
  if (admission?.kind !== 'admitted') throw new Error(`the call was not admitted: ${JSON.stringify(admission)}`)
  await breakers.settle(key, admission.ticket, verdict)
}

/** Waits as long as it is told until a call is let through, and settles it. */
async function untilAdmitted(breakers: CircuitBreakers, key: string, verdict: BreakerVerdict): Promise<void> {
  const deadline = performance.now() + 10_000
  for (;;) {
    const admission = await breakers.admit(key)
    if (admission.kind === 'admitted') {
      await breakers.settle(key, admission.ticket, verdict)
      return
    }
    if (performance.now() > deadline) throw new Error('no call was let through within ten seconds')
    await pass(admission.retryAfterMs)
  }
}

function waitOf(admission: BreakerAdmission | undefined): number {
  return admission?.kind === 'refused' ? admission.retryAfterMs : 0
}

const pass = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
