import type { AppOverrides, Basics } from './app/basics.ts'
import { type Platform, openPlatform } from './app/platform.ts'
import { createServices } from './app/services.ts'
import { createTaskEngine } from './app/task-engine.ts'
import { createProcesses, startWork } from './app/work.ts'
import type { Config } from './config.ts'
import { defaultKeyTimings } from './features/accounts/key-rotation.ts'
import { defaultCompletionTimings } from './features/completions/completion-leases.ts'
import type { Services } from './graphql/context.ts'
import { createCleanup } from './lib/cleanup.ts'
import { systemClock } from './lib/clock.ts'
import { newId as newUuid } from './lib/ids.ts'
import { createLogger } from './platform/logger.ts'
import { readProcessMemory } from './platform/process-vitals.ts'
import { createConfiguredServer } from './app/serve.ts'

export type { AppOverrides } from './app/basics.ts'

/** A running server. */
export interface App extends AsyncDisposable {
  readonly url: string
  readonly services: Services
  /**
   * Stops taking work, lets running tasks end within the grace, gives the rest back, and releases everything. Takes SHUTDOWN_GRACE_MS and
   * 14 s at most, also when PostgreSQL or Redis hangs: then it rejects, and what it could not release is left to the end of the process.
   */
  close(): Promise<void>
}

/** How long requests may go on once the server stops; subscribers are sent away at once, to come back elsewhere. */
const httpGraceMs = 5_000

/** What stopping may take beside the grace for running tasks: goodbyes to clients (6 s), giving tasks back (6 s), and closing connections. */
const closeLimitMs = 14_000

/**
 * Starts a server: database, services, worker, HTTP. Takes the data directory, the port and nothing else; two apps in one process do not
 * know of each other.
 *
 * Throws DataDirectoryInUseError, MigrationError, WrongSecretError, ServiceUnavailableError (no database), or what listening throws; what was
 * started until then is released.
 */
export async function startApp(config: Config, overrides: Partial<AppOverrides> = {}): Promise<App> {
  const cleanup = createCleanup()
  const newId = overrides.newId ?? newUuid
  const basics: Basics = {
    config,
    processId: newId(),
    clock: overrides.clock ?? systemClock,
    newId,
    random: overrides.random ?? Math.random,
    readMemory: overrides.readMemory ?? readProcessMemory,
    keyTimings: overrides.keyTimings ?? defaultKeyTimings,
    logger: overrides.logger ?? createLogger({ level: config.logLevel }),
    cleanup,
    completionTimings: { ...defaultCompletionTimings, ...overrides.completionTimings },
  }
  try {
    const platform = await openPlatform(basics, overrides)
    const tasks = createTaskEngine(basics, platform)
    const processes = createProcesses(basics, platform)
    const services = { ...(await createServices(basics, platform, tasks)), processes }
    await startWork(basics, platform, { ...tasks, processes })
    const url = await serve(basics, platform, services)
    const close = (): Promise<void> => cleanup.run(config.shutdownGraceMs + closeLimitMs)
    return { url, services, close, [Symbol.asyncDispose]: close }
  } catch (error) {
    await cleanup
      .run(closeLimitMs)
      .catch((failure: unknown) =>
        basics.logger.error({ err: failure }, 'not everything was released after a failed start'),
      )
    throw error
  }
}

async function serve({ config, newId, cleanup }: Basics, { throttles }: Platform, services: Services): Promise<string> {
  const http = await createConfiguredServer(config, { services, throttles, newId })
  const { url } = await http.listen({ host: config.host, port: config.port })
  cleanup.add('the HTTP server', () => http.close(httpGraceMs))
  return url
}
