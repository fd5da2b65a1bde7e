import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { answer, hold, startModelServer, type ModelServer } from '../support/model-server.ts'
import { startPostgresProxy } from '../support/postgres-proxy.ts'
import { findPostgres, startPostgresServer, type PostgresServer } from '../support/postgres-server.ts'
import { startTestApp } from '../support/test-app.ts'
import { until } from '../support/until.ts'

const programs = findPostgres()

describe.skipIf(programs === null)('a completion without a key, when PostgreSQL goes away before it ends', () => {
  let server: PostgresServer
  let models: ModelServer

  beforeAll(async () => {
    server = await startPostgresServer(programs ?? '')
    models = await startModelServer()
  }, 120_000)

  afterAll(async () => {
    await models[Symbol.asyncDispose]()
    await server[Symbol.asyncDispose]()
  })

  async function start() {
    const proxy = await startPostgresProxy(await server.createDatabase())
    const app = await startTestApp({
      env: {
        DATABASE_URL: proxy.url,
        MONK_SECRET: 'a secret of at least 32 characters',
        AI_PROVIDERS: JSON.stringify([{ name: 'test', baseUrl: models.baseUrl, apiKey: 'none' }]),
        AI_DEFAULT_MODELS: 'test/model',
      },
    })
    const { token } = await app.signUp()

    /** Asks, and takes the database away while the model is at it. */
    async function completeWithoutDatabase(): Promise<string | undefined> {
      let letGo = (): void => undefined
      const whole = answer('Done.')
      models.reply({ ...whole, acts: [hold(new Promise<void>((resolve) => (letGo = resolve))), ...whole.acts] })
      const before = models.requests.length
      const completed = app.graphql<{ complete: { text: string } | null }>(
        'mutation { complete(input: { prompt: "Go." }) { text } }',
        {},
        { token },
      )
      await until(
        'the model is asked',
        async () => models.requests.length,
        (count) => count > before,
      )
      proxy.goAway()
      letGo()
      return (await completed).data?.complete?.text
    }

    return {
      app,
      proxy,
      completeWithoutDatabase,
      async [Symbol.asyncDispose]() {
        await app[Symbol.asyncDispose]()
        await proxy[Symbol.asyncDispose]()
      },
    }
  }

  test('gives its answer all the same, and what it has cost reaches the ledger when PostgreSQL is back', async () => {
    await using parts = await start()
    const { app, proxy, completeWithoutDatabase } = parts

    expect(await completeWithoutDatabase()).toBe('Done.')

    proxy.comeBack()
    const { prisma } = app.services.db
    const records = await until(
      'the ledger has what it has cost',
      () => prisma.usageRecord.findMany(),
      (rows) => rows.length > 0,
    )
    expect(records).toHaveLength(1)
    expect(await prisma.modelAttempt.findMany()).toMatchObject([{ outcome: 'succeeded' }])
    expect(await prisma.completion.findMany()).toMatchObject([{ id: records[0]?.completionId, status: 'SUCCEEDED' }])
  })

  test('logs what it has cost when this process is ended before PostgreSQL is back', async () => {
    await using parts = await start()
    const { app, completeWithoutDatabase } = parts
    expect(await completeWithoutDatabase()).toBe('Done.')

    await app.close()

    expect(app.logs.takeError('what a completion has cost could not be written')).toMatchObject({
      calls: [{ model: 'test/model', outcome: 'succeeded', input_tokens: expect.any(Number) }],
    })
  })
})
