import { findPostgres } from './tests/support/postgres-server.ts'
import { findRedis } from './tests/support/redis-server.ts'
import { sharedWorkers } from './vitest.config.ts'

// Both say so loudly when there is none; with CI set they throw.
const hasServers = [findPostgres(), findRedis()].every((program) => program !== null)

/** `npm run test:servers`: the feature tests once more, on a PostgreSQL and a Redis that are started for them. */
export default sharedWorkers({
  globalSetup: hasServers ? ['tests/support/template-database.ts', 'tests/support/test-servers.ts'] : [],
  exclude: [
    'tests/{ai,cli,graphql,http,lib,platform,faults,browser}/**',
    'tests/*.test.ts',
    ...(hasServers ? [] : ['**']),
  ],
  passWithNoTests: !hasServers,
})
