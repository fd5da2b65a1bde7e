import type { Prisma, PrismaClient } from '../../generated/prisma/client.ts'

/** What a transaction's work talks to. Never use the root client inside it: with one connection that waits for ever. */
export type Transaction = Prisma.TransactionClient

/** One hand-written query: a name (it is prepared once per connection under it) and its text with $1, $2 … */
export type Statement = { readonly name: string; readonly text: string }

export type TransactionOptions = {
  /** How often it is tried in all when the database asks for it (serialization failure, deadlock, lost connection). Default 4. */
  maxAttempts?: number
  /** How long one try may take before it is rolled back, in milliseconds. Default 10 000. */
  timeoutMs?: number
}

export type PoolStats = { total: number; idle: number; waiting: number; max: number }

/** Postgres, reached through one bounded pool that Prisma and the hand-written SQL share. */
export interface Database {
  /** Where the rows are: a server, or Postgres inside this program. */
  readonly kind: 'postgresql' | 'embedded'
  /**
   * For what stands alone. Outside of `transaction` it throws Prisma's own errors also when the database is away, and
   * `translateDatabaseError` says whether it is; the methods below throw ServiceUnavailableError or ServerBusyError by themselves.
   */
  readonly prisma: PrismaClient
  /**
   * Runs one statement on its own (it is its own transaction). `retry: true` runs it again after a deadlock, a serialization
   * failure or a lost connection: only for statements that may run twice.
   */
  query<Row>(statement: Statement, values: readonly unknown[], options?: { retry?: boolean }): Promise<Row[]>
  /**
   * Runs `work` in one READ COMMITTED transaction and rolls back when it throws. It may run more than once: make ids outside,
   * do no network I/O inside, publish after it.
   */
  transaction<T>(work: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>
  /** One round trip, in milliseconds; rejects when the database does not answer. */
  ping(): Promise<number>
  poolStats(): PoolStats
  close(): Promise<void>
}
