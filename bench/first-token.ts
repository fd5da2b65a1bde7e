import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGraphQLClient } from '../tests/support/graphql-client.ts'
import { startOpenAiMock, type MockFixture } from '../tests/support/openai-mock.ts'
import { startServerProcess } from '../tests/support/server-process.ts'
import { firstToken, loadAverages, machineFacts, partTable, watchBusy } from './first-token/report.ts'
import type { Measured, MeasuredPart } from './first-token/report.ts'
import { createCompletionReader, createSdkReader, createTaskReader } from './first-token/stream-readers.ts'
import type { Session, StreamReader } from './first-token/stream-readers.ts'
import { delaysMs } from './first-token/timed-text.ts'
import { stopRequest } from './stop-request.ts'
import { startUpstreamTap, type UpstreamTap } from './first-token/upstream-tap.ts'

/** From the upstream's bytes at the proxy to the subscriber: the median of the first tokens, for each of our ways to read. */
const goalP50Ms = 10
/** What the whole program may take, should something hang. */
const hardLimitMs = 90_000

const model = 'counter'

/**
 * In each round every reader reads `width` streams at once. A part ends with its rounds or its time. The upstream's pace is aimock's
 * streamingProfile: `ttft` ms of thought, then `tps` tokens a second, all of it give or take the part `jitter`.
 */
type Part = {
  name: string
  title: string
  width: number
  tokens: readonly string[]
  pace: { ttft: number; tps: number; jitter: number }
  warmUpRounds: number
  rounds: number
  maxMs: number
}

const alone: Part = {
  name: 'alone',
  title: 'One stream at a time',
  width: 1,
  tokens: countTo(5),
  pace: { ttft: 10, tps: 100, jitter: 0.5 },
  warmUpRounds: 10,
  rounds: 100,
  maxMs: 32_000,
}

/** All are asked at once, and their first tokens come within 400 ms, so that some begin while others are in full flow. */
const crowd: Part = {
  name: 'crowd',
  title: '20 streams at once',
  width: 20,
  tokens: countTo(20),
  pace: { ttft: 400, tps: 100, jitter: 0.5 },
  warmUpRounds: 1,
  rounds: 5,
  maxMs: 14_000,
}

async function main(stopped: Promise<never>): Promise<void> {
  console.log(machineFacts())
  console.log(`Load averages before: ${loadAverages()}\n`)
  await using directory = await temporaryDirectory()
  await using upstream = await startOpenAiMock([alone, crowd].map(fixtureOf))
  await using tap = await startUpstreamTap(upstream.baseUrl)
  await using server = await startServerProcess({
    NODE_ENV: 'development',
    MONK_DATA_DIR: directory.path,
    OPENAI_API_KEY: 'none',
    OPENAI_BASE_URL: tap.baseUrl,
    AI_DEFAULT_MODELS: `openai/${model}`,
  })
  const measured = await Promise.race([measureAll(server.url, tap), stopped])
  judge(measured)
}

async function measureAll(serverUrl: string, tap: UpstreamTap): Promise<readonly MeasuredPart[]> {
  const session = await signUp(serverUrl)
  const readers = [
    createSdkReader({ baseUrl: tap.baseUrl, model }),
    createCompletionReader(session),
    await createTaskReader(session, { concurrency: crowd.width }),
  ]
  await showColdStart(readers, tap)
  const measured: MeasuredPart[] = []
  for (const part of [alone, crowd]) {
    const result = await measurePart(part, readers, tap)
    console.log(`${partTable(result)}\n`)
    measured.push(result)
  }
  console.log(`Load averages after: ${loadAverages()}`)
  return measured
}

/** What the first reader of a new server waits for: code that was never run. Shown, not judged. */
async function showColdStart(readers: readonly StreamReader[], tap: UpstreamTap): Promise<void> {
  const shown: string[] = []
  for (const reader of readers) {
    const [delays = []] = await readStreams(alone, { reader, tap, turn: 'cold' })
    shown.push(`${reader.name} ${delays[0]?.toFixed(2) ?? '?'} ms`)
  }
  console.log(`The very first token of a new server (not counted below): ${shown.join(', ')}\n`)
}

type Turn = { reader: StreamReader; tap: UpstreamTap; turn: string }

/** The readers take turns, in another order each round, so that what the machine does besides falls on all of them. */
async function measurePart(part: Part, readers: readonly StreamReader[], tap: UpstreamTap): Promise<MeasuredPart> {
  const delays = new Map<StreamReader, number[][]>(readers.map((reader) => [reader, []]))
  const deadlineMs = performance.now() + part.maxMs
  let busy = watchBusy()
  for (let round = -part.warmUpRounds; round < part.rounds && performance.now() < deadlineMs; round++) {
    if (round === 0) busy = watchBusy()
    for (let turn = 0; turn < readers.length; turn++) {
      const reader = readers[(round + part.warmUpRounds + turn) % readers.length]
      if (reader === undefined) throw new Error('a turn of nobody')
      const streams = await readStreams(part, { reader, tap, turn: String(round) })
      if (round >= 0) delays.get(reader)?.push(...streams)
    }
  }
  const measured: Measured[] = [...delays].map(([{ name }, streams]) => ({ name, streams }))
  return { title: part.title, measured, busy: busy() }
}

async function readStreams(part: Part, { reader, tap, turn }: Turn): Promise<number[][]> {
  const labels = Array.from({ length: part.width }, (_, index) => `${part.name} ${reader.name} ${turn} ${index}`)
  const received = await reader.read(labels)
  const whole = part.tokens.join('')
  return labels.map((label, index) => delaysMs(whole, tap.take(label), received[index] ?? []))
}

function judge(measured: readonly MeasuredPart[]): void {
  const medians = measured.flatMap(({ title, measured: [, ...ours] }) =>
    ours.map((one) => ({ what: `${one.name}, ${title.toLowerCase()}`, p50: firstToken(one).p50 })),
  )
  // Not "above it": a median of nothing is NaN, and misses the goal too.
  const missed = medians.filter(({ p50 }) => !(p50 <= goalP50Ms))
  console.log(`Goal: first tokens within ${goalP50Ms} ms (p50): ${missed.length === 0 ? 'met' : 'MISSED'}`)
  for (const { what, p50 } of missed) console.log(`  ${what}: ${p50.toFixed(2)} ms`)
  if (missed.length > 0) process.exitCode = 1
}

/** One token for each chunk; they all have the same length. */
function countTo(last: number): string[] {
  return Array.from({ length: last }, (_, index) => `tok${String(index + 1).padStart(2, '0')} `)
}

function fixtureOf({ name, tokens, pace }: Part): MockFixture {
  const chunkSize = tokens[0]?.length
  return { match: { userMessage: name }, response: { content: tokens.join('') }, chunkSize, streamingProfile: pace }
}

async function signUp(serverUrl: string): Promise<Session> {
  const client = createGraphQLClient(serverUrl)
  const { signUp: account } = await client.data<{ signUp: { accessToken: string } }>(
    'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }',
    { input: { email: 'bench@example.com', password: 'a rather long pass phrase 42' } },
  )
  return { client, token: account.accessToken }
}

async function temporaryDirectory(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'monk-bench-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

try {
  await main(stopRequest(hardLimitMs))
} catch (error) {
  console.error(error)
  process.exitCode = 1
}
