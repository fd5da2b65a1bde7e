#!/usr/bin/env node
import { ConfigError } from '../config.ts'
import { WrongSecretError } from '../features/accounts/key-encryption.ts'
import { AppError } from '../lib/errors.ts'
import { MigrationError } from '../platform/database/apply-migrations.ts'
import { DataDirectoryInUseError } from '../platform/database/data-directory-lock.ts'
import { UsageError } from './command.ts'
import type { Command } from './command.ts'

/** `monk <command> …`. Each is loaded only when it is asked for. */
const commands: Record<string, () => Promise<Command>> = {
  demo: async () => (await import('./demo.ts')).demo,
  keys: async () => (await import('./keys.ts')).keys,
  migrate: async () => (await import('./migrate.ts')).migrate,
  users: async () => (await import('./users.ts')).users,
}

const output = (text: string): void => void process.stdout.write(`${text}\n`)

async function main([name = '', ...args]: string[]): Promise<void> {
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (load === undefined)
    throw new UsageError(['monk <command> …', '', `commands: ${Object.keys(commands).join(', ')}`])
  const command = await load()
  await command({ args, env: process.env, output })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`${isForPeople(error) ? error.message : stackOf(error)}\n`)
  process.exitCode = 1
}

// What the person at the terminal can mend needs no stack.
function isForPeople(error: unknown): error is Error {
  return (
    error instanceof UsageError ||
    error instanceof ConfigError ||
    error instanceof AppError ||
    error instanceof MigrationError ||
    error instanceof WrongSecretError ||
    error instanceof DataDirectoryInUseError
  )
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
