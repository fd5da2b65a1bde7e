import { setTimeout as delay } from 'node:timers/promises'
import type { GraphQLAnswer } from '../../support/graphql-client.ts'
import type { Fleet } from './fleet.ts'
import type { SeededRandom } from './seeded-random.ts'

/** A person who uses the API through whichever process answers. */
export interface Session {
  /** Fresh enough for the next minutes. */
  token(): Promise<string>
  /**
   * Asks until there is an answer: what fails because a process or a server is away is tried again, on any API. Throws when the API refuses, or
   * when there was no answer for `patienceMs`.
   */
  ask<Data>(operation: string, variables: Record<string, unknown>): Promise<Data>
}

export type SessionOptions = { fleet: Fleet; random: SeededRandom; patienceMs: number }

const requestLimitMs = 15_000
/** An access token is good for ten minutes. */
const tokenAgeMs = 4 * 60_000
const account = { email: 'chaos@example.com', password: 'a rather long pass phrase 42' }
/** Everything else that the API says is an answer. */
const passingCodes = new Set(['SERVICE_UNAVAILABLE', 'SERVER_BUSY', 'RATE_LIMITED'])

export async function openSession({ fleet, random, patienceMs }: SessionOptions): Promise<Session> {
  let current: { token: string; sinceMs: number } | null = null
  let renewing: Promise<string> | null = null

  async function ask<Data>(operation: string, variables: Record<string, unknown>, token?: string): Promise<Data> {
    const deadlineMs = performance.now() + patienceMs
    for (;;) {
      const { client } = fleet.anyApi(random)
      let answer: GraphQLAnswer<Data> | { away: unknown }
      try {
        const signal = AbortSignal.timeout(requestLimitMs)
        answer = await client.graphql<Data>(operation, variables, { signal, ...(token !== undefined && { token }) })
      } catch (error) {
        answer = { away: error }
      }
      if ('data' in answer && answer.data !== null && answer.data !== undefined && answer.errors === undefined)
        return answer.data
      const isPassing = 'away' in answer || answer.errors?.every(({ extensions }) => passingCodes.has(extensions.code))
      if (isPassing !== true) throw new Error(`the API refuses: ${JSON.stringify(answer)}`)
      if (performance.now() > deadlineMs)
        throw new Error(`no answer for ${patienceMs} ms: ${JSON.stringify(answer)}`, { cause: answer })
      await delay(random.between(50, 400))
    }
  }

  async function logIn(): Promise<string> {
    const { logIn: payload } = await ask<{ logIn: { accessToken: string } }>(
      'mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }',
      { input: account },
    )
    current = { token: payload.accessToken, sinceMs: performance.now() }
    renewing = null
    return payload.accessToken
  }

  async function freshToken(): Promise<string> {
    if (current !== null && performance.now() - current.sinceMs < tokenAgeMs) return current.token
    return (renewing ??= logIn())
  }

  await ask('mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }', { input: account })
  return { token: freshToken, ask: async (operation, variables) => ask(operation, variables, await freshToken()) }
}
