import { startApp, type App } from './app.ts'
import { ConfigError, parseConfig, type Config } from './config.ts'
import { WrongSecretError } from './features/accounts/key-encryption.ts'
import { PersistedDocumentsError } from './graphql/persisted-documents.ts'
import { AppError } from './lib/errors.ts'
import { DataDirectoryInUseError } from './platform/database/data-directory-lock.ts'
import { MigrationError } from './platform/database/apply-migrations.ts'
import { createLogger, type Logger } from './platform/logger.ts'

/** Configuration → app → wait for a signal → close. Exits 1 when it could not start or could not close properly. */
async function main(): Promise<void> {
  const config = parseConfig(process.env)
  const logger = createLogger({ level: config.logLevel })
  const app = await startApp(config, { logger, onFatal: (error) => exitBroken(logger, error) })
  printWelcome(app, config)
  const signal = await terminated()
  logger.info({ signal, graceMs: config.shutdownGraceMs }, 'shutting down')
  try {
    await app.close()
  } catch (error) {
    // A connection that hangs would keep the process alive for as long as it likes.
    logger.error({ err: error }, 'not everything could be released')
    process.exit(1)
  }
  logger.info('bye')
}

function exitBroken(logger: Logger, error: Error): void {
  logger.fatal({ err: error }, 'the embedded database broke; what was acknowledged is on disk')
  process.exit(1)
}

function terminated(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        resolve(signal)
        // Whoever asks twice does not want to wait.
        process.once(signal, () => process.exit(1))
      })
    }
  })
}

// For people, on standard error: standard output is for log lines only.
function printWelcome({ url }: App, config: Config): void {
  const { database, dataDir, redisUrl, roles, ai } = config
  const isDemo = ai.defaultModels.every((model) => model.startsWith('demo/'))
  const servesApi = roles.includes('api')
  const lines = [
    `Monk-AI is ready (${roles.join(', ')}).`,
    '',
    ...(servesApi && config.graphiql ? [`GraphiQL   ${url}/graphql  (in a browser)`] : []),
    ...(servesApi ? [`GraphQL    ${url}/graphql  (WebSocket and Server-Sent Events on the same path)`] : []),
    `Health     ${url}/health/ready`,
    `Database   ${database.url === null ? `embedded, in ${dataDir}` : 'PostgreSQL (DATABASE_URL)'}`,
    `Events     ${redisUrl === null ? 'in this process' : 'Redis (REDIS_URL)'}`,
    `Models     ${ai.defaultModels.join(', ')}${isDemo ? '  (built in and labelled; set OPENAI_API_KEY for a real one)' : ''}`,
  ]
  console.error(`\n${lines.map((line) => `  ${line}`.trimEnd()).join('\n')}\n`)
}

// What the person at the terminal can mend is said in a sentence; everything else is a fault of ours and needs its stack.
function isSelfExplaining(error: unknown): error is Error {
  return (
    error instanceof ConfigError ||
    error instanceof AppError ||
    error instanceof DataDirectoryInUseError ||
    error instanceof MigrationError ||
    error instanceof WrongSecretError ||
    error instanceof PersistedDocumentsError ||
    (error instanceof Error && 'syscall' in error && error.syscall === 'listen')
  )
}

try {
  await main()
} catch (error) {
  console.error(isSelfExplaining(error) ? error.message : error)
  process.exitCode = 1
}
