import { z } from 'zod'
import type { Logger } from '../logger.ts'
import { RedisError } from './redis-errors.ts'
import { createRedisScript } from './redis-script.ts'
import type { RedisServer } from './redis.ts'
import { createRefusalLog } from './refusal-log.ts'

/** A board in Redis on which each process pins one note, for all to read. What is on it is nice to know: it never throws. */
export interface Board {
  /** Replaces this process's note. */
  pin(note: string): Promise<void>
  /** The other processes' notes that are not too old; none while Redis is away. */
  read(): Promise<readonly string[]>
  close(): Promise<void>
}

export type BoardOptions = {
  redis: RedisServer
  logger: Logger
  name: string
  processId: string
  /** How old a note may be, in milliseconds. */
  maxAgeMs: number
}

const pinScript = createRedisScript(`
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], (time[1] * 1000) .. ':' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
`)

const readScript = createRedisScript(`
local time = redis.call('TIME')
local now = time[1] * 1000
local found = redis.call('HGETALL', KEYS[1])
local notes = {}
for i = 1, #found, 2 do
  local at, note = string.match(found[i + 1], '^(%d+):(.*)$')
  if not at or tonumber(at) < now - ARGV[2] then redis.call('HDEL', KEYS[1], found[i])
  elseif found[i] ~= ARGV[1] then notes[#notes + 1] = note end
end
return notes
`)

const notes = z.array(z.string())

export function createRedisBoard({ redis, logger, name, processId, maxAgeMs }: BoardOptions): Board {
  const connection = redis.connect('requests', `board-${name}`)
  const refusals = createRefusalLog(logger, `Redis refuses the board "${name}"; each process knows only of itself`)
  const keys = [`${redis.keyPrefix}:board:${name}`]

  async function ask<T>(question: () => Promise<T>, otherwise: T): Promise<T> {
    try {
      const answer = await question()
      refusals.worked()
      return answer
    } catch (error) {
      if (!(error instanceof RedisError)) throw error
      refusals.failed(error)
      return otherwise
    }
  }

  return {
    pin: (note) =>
      ask(async () => void (await pinScript.run(connection, keys, [processId, note, maxAgeMs])), undefined),
    read: () => ask(async () => notes.parse(await readScript.run(connection, keys, [processId, maxAgeMs])), []),
    close: () => connection.close(),
  }
}
