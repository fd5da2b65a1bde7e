import { once } from 'node:events'
import { expect, test } from 'vitest'
import { startHeartbeat, type LiveRun } from '../../../src/features/tasks/engine/heartbeat.ts'
import { RunStopped } from '../../../src/features/tasks/engine/run.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { captureLogs } from '../../support/log-capture.ts'

const leaseMs = 300

function live(taskId: string, leaseToken: string): LiveRun {
  return { taskId, leaseToken, control: new AbortController(), keptAtMs: systemClock.monotonicMs() }
}

async function stopped({ control }: LiveRun): Promise<unknown> {
  if (!control.signal.aborted) await once(control.signal, 'abort')
  const { reason } = control.signal
  return reason instanceof RunStopped ? reason.reason : reason
}

function beat(runs: readonly LiveRun[], heartbeat: (tokens: string[]) => Promise<string[]>) {
  return startHeartbeat({
    transitions: {
      heartbeat: async (leases) =>
        (await heartbeat(leases.map(({ leaseToken }) => leaseToken))).map((leaseToken) => ({
          leaseToken,
          cancelRequested: false,
        })),
    },
    runs: new Map(runs.map((run) => [run.leaseToken, run])),
    clock: systemClock,
    logger: captureLogs().logger,
    leaseMs,
  })
}

test('stops runs when the database has not answered for as long as a lease lasts, though it is still being waited for', async () => {
  const run = live('task', 'lease')
  let answer = (): void => undefined
  const silent = new Promise<string[]>((resolve) => (answer = () => resolve([])))
  const stop = beat([run], () => silent)

  expect(await stopped(run)).toBe('lease-lost')

  answer()
  await stop()
})

test('stops a run whose task was taken over by another run of the same process', async () => {
  const [old, current] = [live('task', 'old'), live('task', 'current')]
  const stop = beat([old, current], async () => ['current'])

  expect(await stopped(old)).toBe('lease-lost')
  await stop()
  expect(current.control.signal.aborted).toBe(false)
})
