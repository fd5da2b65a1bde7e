import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createGraphQLClient } from '../support/graphql-client.ts'
import { startModelServer } from '../support/model-server.ts'
import { createSubmitter } from '../support/first-task.ts'
import { answerText, slowAnswer } from '../support/slow-answers.ts'
import { startServerProcess } from '../support/server-process.ts'
import { createReader } from '../support/task-reader.ts'

/** From the kill to the task running again. */
const recoveryLimitMs = 20_000

test('a kill -9 in mid-stream loses nothing: the task goes on, and every cursor leads to the exact output', async () => {
  await using models = await startModelServer()
  await using directory = await temporaryDirectory()
  const env = {
    MONK_DATA_DIR: directory.path,
    OPENAI_API_KEY: 'none',
    OPENAI_BASE_URL: models.baseUrl,
    AI_DEFAULT_MODELS: 'openai/test-model',
  }
  models.reply(slowAnswer('first', 50), slowAnswer('second', 20))

  const before = await startServerProcess(env)
  const { token, submit } = await createSubmitter(createGraphQLClient(before.url))
  const taskId = await submit(createGraphQLClient(before.url))
  const live = createReader(taskId)
  await live.read(createGraphQLClient(before.url), token, (reader) => reader.text.length > 200)
  expect(live.text).not.toBe('')
  expect(answerText('first').startsWith(live.text)).toBe(true)
  const cursorOfFirstAttempt = live.copy()

  await before.kill('SIGKILL')
  const killedAtMs = performance.now()
  await using after = await startServerProcess(env)
  const client = createGraphQLClient(after.url)

  // It resumes with its last cursor at once, while the task is taken up again.
  await live.read(client, token, (reader) => reader.statuses.includes('RUNNING'))
  expect(performance.now() - killedAtMs).toBeLessThan(recoveryLimitMs)
  const cursorInTheMiddle = live.copy()
  await live.read(client, token)
  expect(live.statuses.at(-1)).toBe('SUCCEEDED')
  expect(live.text).toBe(answerText('second'))

  // After the end: with a cursor of the lost attempt, with one of the last attempt, with the very last one, and with none.
  for (const reader of [cursorOfFirstAttempt, cursorInTheMiddle, createReader(taskId)]) {
    await reader.read(client, token)
    expect(reader.text).toBe(answerText('second'))
    expect(reader.isDone).toBe(true)
  }
  const again = live.copy()
  await again.read(client, token)
  expect({ text: again.text, pieces: again.pieces }).toEqual({ text: live.text, pieces: live.pieces })

  const { task } = await client.data<TaskAnswer>(
    'query ($id: ID!) { task(id: $id) { status output attempt attemptsUsed attempts { number status } } }',
    { id: taskId },
    { token },
  )
  expect(task).toEqual({
    status: 'SUCCEEDED',
    output: answerText('second'),
    attempt: 2,
    attemptsUsed: 2,
    attempts: [
      { number: 1, status: 'LOST' },
      { number: 2, status: 'SUCCEEDED' },
    ],
  })
})

test('SIGTERM gives running work back without using up an attempt, and the next start goes on with it', async () => {
  await using models = await startModelServer()
  await using directory = await temporaryDirectory()
  const env = {
    MONK_DATA_DIR: directory.path,
    OPENAI_API_KEY: 'none',
    OPENAI_BASE_URL: models.baseUrl,
    AI_DEFAULT_MODELS: 'openai/test-model',
    SHUTDOWN_GRACE_MS: '100',
  }
  models.reply(slowAnswer('first', 50), slowAnswer('second', 5))

  const before = await startServerProcess(env)
  const { token, submit } = await createSubmitter(createGraphQLClient(before.url))
  const taskId = await submit(createGraphQLClient(before.url))
  const reader = createReader(taskId)
  await reader.read(createGraphQLClient(before.url), token, ({ text: soFar }) => soFar.length > 100)
  expect(await before.kill('SIGTERM')).toBe(0)
  await models.requests[0]?.closed
  expect(models.requests.map(({ hungUp }) => hungUp)).toEqual([true])

  await using after = await startServerProcess(env)
  await reader.read(createGraphQLClient(after.url), token)

  expect(reader.text).toBe(answerText('second'))
  const { task } = await createGraphQLClient(after.url).data<TaskAnswer>(
    'query ($id: ID!) { task(id: $id) { status attempt attemptsUsed attempts { number status } } }',
    { id: taskId },
    { token },
  )
  expect(task).toEqual({
    status: 'SUCCEEDED',
    attempt: 2,
    attemptsUsed: 1,
    attempts: [
      { number: 1, status: 'RELEASED' },
      { number: 2, status: 'SUCCEEDED' },
    ],
  })
})

test('a second server on the same data directory is refused with a sentence', async () => {
  await using directory = await temporaryDirectory()
  await using first = await startServerProcess({ MONK_DATA_DIR: directory.path })

  await expect(startServerProcess({ MONK_DATA_DIR: directory.path })).rejects.toThrow(
    `is in use by process ${first.pid}. Stop that process, or set MONK_DATA_DIR to another directory.`,
  )
})

type TaskAnswer = { task: Record<string, unknown> }

async function temporaryDirectory(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'monk-fault-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}
