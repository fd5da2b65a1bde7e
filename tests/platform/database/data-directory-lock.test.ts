import { hostname } from 'node:os'
import { expect, test } from 'vitest'
import {
  DataDirectoryInUseError,
  findLockOwner,
  lockDataDirectory,
} from '../../../src/platform/database/data-directory-lock.ts'
import { startChildProcess } from '../../support/child-process.ts'
import { makeDataDirectory } from '../../support/data-directory.ts'

const holder = new URL('fixtures/hold-data-directory.ts', import.meta.url)

test('refuses a second owner, and names the directory and the process', async () => {
  await using data = await makeDataDirectory()
  await using _lock = await lockDataDirectory(data.dataDirectory)
  const refusal = await lockDataDirectory(data.dataDirectory).catch((error: unknown) => error)
  expect(refusal).toBeInstanceOf(DataDirectoryInUseError)
  expect(String(refusal)).toContain(data.dataDirectory)
  expect(String(refusal)).toContain(`process ${process.pid}`)
})

test('gives the directory to the next one after it was released', async () => {
  await using data = await makeDataDirectory()
  for (let i = 0; i < 3; i++) {
    await using _lock = await lockDataDirectory(data.dataDirectory)
    expect(await findLockOwner(data.dataDirectory)).toEqual({ pid: process.pid, host: hostname(), socketFolder: null })
  }
  expect(await findLockOwner(data.dataDirectory)).toBeNull()
})

test('lets exactly one of many who start at once have it', async () => {
  await using data = await makeDataDirectory()
  for (let round = 0; round < 5; round++) {
    const attempts = await Promise.allSettled(Array.from({ length: 12 }, () => lockDataDirectory(data.dataDirectory)))
    const locks = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []))
    const reasons = attempts.flatMap((attempt) => (attempt.status === 'rejected' ? [attempt.reason] : []))
    expect(locks).toHaveLength(1)
    for (const reason of reasons) expect(reason).toBeInstanceOf(DataDirectoryInUseError)
    await Promise.all(locks.map((lock) => lock[Symbol.asyncDispose]()))
  }
})

test('tells others where the owner listens, once it has announced it', async () => {
  await using data = await makeDataDirectory()
  await using lock = await lockDataDirectory(data.dataDirectory)
  lock.announce('/somewhere')
  expect(await findLockOwner(data.dataDirectory)).toMatchObject({ socketFolder: '/somewhere' })
})

test('is free again as soon as its owner was killed', async () => {
  await using data = await makeDataDirectory()
  await using owner = startChildProcess(holder, [data.dataDirectory])
  expect(await owner.nextLine()).toBe('held')
  await expect(lockDataDirectory(data.dataDirectory)).rejects.toThrow(`process ${owner.pid}`)
  owner.kill('SIGKILL')
  await owner.ended
  await using _lock = await lockDataDirectory(data.dataDirectory)
  expect(await findLockOwner(data.dataDirectory)).toMatchObject({ pid: process.pid })
})

test('still refuses while its owner is stopped and answers nothing', async () => {
  await using data = await makeDataDirectory()
  await using owner = startChildProcess(holder, [data.dataDirectory])
  expect(await owner.nextLine()).toBe('held')
  owner.kill('SIGSTOP')
  await expect(lockDataDirectory(data.dataDirectory)).rejects.toThrow(`process ${owner.pid}`)
})

test('says what to do when the path is too long for a socket', async () => {
  await using data = await makeDataDirectory()
  const { mkdir } = await import('node:fs/promises')
  const deep = `${data.dataDirectory}/${'x'.repeat(100)}`
  await mkdir(deep)
  await expect(lockDataDirectory(deep)).rejects.toThrow('shorter MONK_DATA_DIR')
})
