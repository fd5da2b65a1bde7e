import { setTimeout as delay } from 'node:timers/promises'
import type { Contestant, WorkTimes } from './contestant.ts'

/** What was handed in once: when, and how long until it was accepted. */
type Submission = { id: string; sentAtMs: number; tookMs: number }

/** In milliseconds. */
export type Latencies = {
  /** From the submitter's call to its answer. */
  submit: number[]
  /** From the row's acceptance to its beginning, by the database's clock. */
  toRunning: number[]
  /** From the submitter's call to the beginning; both clocks are this machine's. */
  callToRunning: number[]
}

/** Hands in work at a steady pace, whatever becomes of it, and waits until it has ended. */
export async function measureLatencies(contestant: Contestant, pace: Pace): Promise<Latencies> {
  const submissions = await submitSteadily(contestant, pace)
  const times = await timesOf(contestant, submissions)
  const sentAt = new Map(submissions.map(({ id, sentAtMs }) => [id, sentAtMs]))
  return {
    submit: submissions.map(({ tookMs }) => tookMs),
    toRunning: times.map(({ acceptedAtMs, startedAtMs }) => startedAtMs - acceptedAtMs),
    callToRunning: times.map(({ id, startedAtMs }) => startedAtMs - (sentAt.get(id) ?? Number.NaN)),
  }
}

export type Pace = { perSecond: number; seconds: number }

async function submitSteadily(contestant: Contestant, { perSecond, seconds }: Pace): Promise<Submission[]> {
  const startedMs = performance.now()
  const underWay: Promise<Submission>[] = []
  for (let n = 0; n < perSecond * seconds; n += 1) {
    const dueInMs = startedMs + (n * 1_000) / perSecond - performance.now()
    if (dueInMs > 0) await delay(dueInMs)
    const submission = submitOne(contestant)
    // Told by the `all` below.
    submission.catch(() => undefined)
    underWay.push(submission)
  }
  return Promise.all(underWay)
}

/** Per second. */
export type Throughput = {
  /** From the first accepted to the last ended. */
  overall: number
  /** Between the end of the first tenth and the end of the ninth. */
  plateau: number
  /** Accepted, between the first and the last. */
  accepted: number
}

/** Hands in `count` pieces of work with `inFlight` calls under way, and waits until all have ended. */
export async function measureThroughput(contestant: Contestant, load: Load): Promise<Throughput> {
  let left = load.count
  const submissions: Submission[] = []
  const submitInTurn = async (): Promise<void> => {
    while (left-- > 0) submissions.push(await submitOne(contestant))
  }
  await Promise.all(Array.from({ length: load.inFlight }, submitInTurn))
  const times = await timesOf(contestant, submissions)
  const accepted = sorted(times.map(({ acceptedAtMs }) => acceptedAtMs))
  const ended = sorted(times.map(({ endedAtMs }) => endedAtMs))
  const tenth = Math.floor(load.count / 10)
  return {
    overall: perSecond(load.count, at(accepted, 0), at(ended, -1)),
    plateau: perSecond(load.count - 2 * tenth, at(ended, tenth), at(ended, -1 - tenth)),
    accepted: perSecond(load.count, at(accepted, 0), at(accepted, -1)),
  }
}

export type Load = { count: number; inFlight: number }

async function submitOne(contestant: Contestant): Promise<Submission> {
  const sentAtMs = Date.now()
  const startedMs = performance.now()
  const id = await contestant.submit()
  return { id, sentAtMs, tookMs: performance.now() - startedMs }
}

const endLimitMs = 60_000
const pollMs = 100

async function timesOf(contestant: Contestant, submissions: readonly Submission[]): Promise<WorkTimes[]> {
  const deadlineMs = performance.now() + endLimitMs
  for (;;) {
    const unfinished = await contestant.unfinished()
    if (unfinished === 0) return contestant.times(submissions.map(({ id }) => id))
    if (performance.now() > deadlineMs)
      throw new Error(`${contestant.name}: ${unfinished} pieces of work had not ended after ${endLimitMs} ms`)
    await delay(pollMs)
  }
}

const sorted = (values: readonly number[]): number[] => values.toSorted((a, b) => a - b)
const at = (values: readonly number[], index: number): number => values.at(index) ?? Number.NaN
const perSecond = (count: number, fromMs: number, toMs: number): number => (count * 1_000) / (toMs - fromMs)
