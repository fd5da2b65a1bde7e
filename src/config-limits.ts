import type { z } from 'zod'
import { integer } from './config-values.ts'

// What anybody may ask of this server, and how often. `docs/security.md` says what each protects.

export const limitVariables = {
  LIMIT_BODY_BYTES: integer(1_024, 67_108_864).default(1_048_576).describe('the largest request body'),
  LIMIT_PROMPT_BYTES: integer(1, 16_777_216).default(262_144).describe('the largest prompt, as UTF-8'),
  LIMIT_DEPTH: integer(1, 100).default(10).describe('levels of fields in an operation'),
  LIMIT_TOKENS: integer(1, 100_000).default(2_000).describe('words and signs in a document'),
  LIMIT_ALIASES: integer(0, 10_000).default(15).describe('aliases in an operation'),
  LIMIT_COMPLEXITY: integer(1, 10_000_000)
    .default(5_000)
    .describe('what one operation may cost: its fields, each as often as it may be in the answer'),
  LIMIT_EXECUTION_MS: integer(100, 600_000)
    .default(10_000)
    .describe('how long a query or mutation may take; complete and subscriptions have the limits of the models'),
  LIMIT_REQUESTS_PER_MINUTE: integer(1, 100_000_000).default(1_200).describe('requests of one user'),
  LIMIT_ANONYMOUS_REQUESTS_PER_MINUTE: integer(1, 100_000_000)
    .default(120)
    .describe('requests without credentials of one address (IPv6: /64); outside production not of this machine'),
  LIMIT_COST_PER_MINUTE: integer(1, 1_000_000_000)
    .default(60_000)
    .describe('what the operations of one user may cost together'),
  LIMIT_SIGNUPS_PER_HOUR: integer(1, 1_000_000)
    .default(20)
    .describe('accounts made from one address; outside production not of this machine'),
  LIMIT_LOGINS_PER_5_MINUTES: integer(1, 1_000_000)
    .default(30)
    .describe('attempts to log in from one address; outside production not of this machine'),
  LIMIT_SOCKETS_PER_USER: integer(1, 100_000)
    .default(50)
    .describe('WebSockets and event streams of one user, on each process'),
  LIMIT_SUBSCRIPTIONS_PER_SOCKET: integer(1, 100_000).default(50).describe('operations at once over one WebSocket'),
  LIMIT_SOCKET_MESSAGES_PER_SECOND: integer(1, 1_000_000)
    .default(20)
    .describe('messages from a client over one WebSocket'),
  LIMIT_SOCKET_FRAME_BYTES: integer(1_024, 67_108_864)
    .default(1_048_576)
    .describe('the largest message from a client over a WebSocket'),
}

type LimitVariables = { [Name in keyof typeof limitVariables]: z.output<(typeof limitVariables)[Name]> }

export type Limits = ReturnType<typeof toLimits>

export function toLimits(env: LimitVariables) {
  return {
    bodyBytes: env.LIMIT_BODY_BYTES,
    promptBytes: env.LIMIT_PROMPT_BYTES,
    depth: env.LIMIT_DEPTH,
    tokens: env.LIMIT_TOKENS,
    aliases: env.LIMIT_ALIASES,
    complexity: env.LIMIT_COMPLEXITY,
    executionMs: env.LIMIT_EXECUTION_MS,
    requestsPerMinute: env.LIMIT_REQUESTS_PER_MINUTE,
    anonymousRequestsPerMinute: env.LIMIT_ANONYMOUS_REQUESTS_PER_MINUTE,
    costPerMinute: env.LIMIT_COST_PER_MINUTE,
    signUpsPerHour: env.LIMIT_SIGNUPS_PER_HOUR,
    logInsPer5Minutes: env.LIMIT_LOGINS_PER_5_MINUTES,
    socketsPerUser: env.LIMIT_SOCKETS_PER_USER,
    subscriptionsPerSocket: env.LIMIT_SUBSCRIPTIONS_PER_SOCKET,
    socketMessagesPerSecond: env.LIMIT_SOCKET_MESSAGES_PER_SECOND,
    socketFrameBytes: env.LIMIT_SOCKET_FRAME_BYTES,
  }
}
