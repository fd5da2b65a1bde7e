import { startApp, type App, type AppOverrides } from '../../src/app.ts'
import { parseConfig } from '../../src/config.ts'
import { graphql } from './gql/gql.ts'
import { createGraphQLClient, type GraphQLClient } from './graphql-client.ts'
import { captureLogs, type LogCapture } from './log-capture.ts'
import { generousLimits } from './generous-limits.ts'
import { createDatabasePlace } from './test-database.ts'
import { startWarmPostgres } from './warm-postgres.ts'
import { redisUrlOf } from './test-servers.ts'

export type TestUser = { token: string; refreshToken: string; id: string; email: string; password: string }

/** The real server on a free port, with an embedded database of its own, and a client of its public API. */
export interface TestApp extends GraphQLClient, AsyncDisposable {
  readonly url: string
  /** What it was started with: for `monk` commands that are to find it. */
  readonly env: NodeJS.ProcessEnv
  readonly services: App['services']
  readonly logs: LogCapture
  /** Makes an account; the first of a server is its administrator. */
  signUp(email?: string): Promise<TestUser>
  /** Ends it as SIGTERM does, before it is disposed of. */
  close(): Promise<void>
}

export type TestAppOptions = {
  /** Environment variables beside those that a test server needs. */
  env?: Readonly<Record<string, string>>
  overrides?: Partial<AppOverrides>
}

const password = 'violet-otter-canyon-42'
let accounts = 0

/** `await using app = await startTestApp()`. Disposing of it fails when the server has logged an error that no test has taken. */
export async function startTestApp({ env = {}, overrides = {} }: TestAppOptions = {}): Promise<TestApp> {
  const place = await createDatabasePlace()
  const logs = captureLogs()
  const environment = {
    NODE_ENV: 'test',
    HOST: '127.0.0.1',
    PORT: '0',
    MONK_DATA_DIR: place.where.dataDirectory,
    BCRYPT_COST: '4',
    ...generousLimits,
    ...(place.where.url !== null && {
      DATABASE_URL: place.where.url,
      MONK_SECRET: 'a secret of at least 32 characters',
    }),
    ...(place.servers !== null && { REDIS_URL: redisUrlOf(place.servers) }),
    ...env,
  }
  const config = parseConfig(environment)
  const app = await startApp(config, { logger: logs.logger, startEmbedded: startWarmPostgres, ...overrides })
  const client = createGraphQLClient(app.url)

  return {
    ...client,
    url: app.url,
    env: environment,
    services: app.services,
    logs,
    close: () => app.close(),
    async signUp(email = `person-${(accounts += 1)}@example.com`) {
      const { signUp } = await client.data(signUpMutation, { input: { email, password } })
      const { accessToken: token, refreshToken, user } = signUp
      if (token === null || refreshToken === null) throw new Error('signing up gave no tokens')
      return { token, refreshToken, id: user.id, email, password }
    },
    async [Symbol.asyncDispose]() {
      await app.close()
      await place[Symbol.asyncDispose]()
      logs.assertNoErrors()
    },
  }
}

export interface SecondApp extends GraphQLClient, AsyncDisposable {
  readonly url: string
}

/** Another process beside the first, on its PostgreSQL and its Redis; dispose of it before the first. */
export async function startSecondApp(first: TestApp, overrides: Partial<AppOverrides> = {}): Promise<SecondApp> {
  const logs = captureLogs()
  const app = await startApp(parseConfig(first.env), {
    logger: logs.logger,
    startEmbedded: startWarmPostgres,
    ...overrides,
  })
  return {
    ...createGraphQLClient(app.url),
    url: app.url,
    async [Symbol.asyncDispose]() {
      await app.close()
      logs.assertNoErrors()
    },
  }
}

const signUpMutation = graphql(`
  mutation TestSignUp($input: SignUpInput!) {
    signUp(input: $input) {
      accessToken
      refreshToken
      user {
        id
      }
    }
  }
`)
