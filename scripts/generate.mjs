// `npm run generate [-- --force]`: all generated sources that are out of date. `npm test` does it first.
import { generatePrisma } from './generate-prisma.mjs'
import { filesIn, fingerprint, run, whenChanged } from './run.mjs'

const force = process.argv.includes('--force')
generatePrisma({ force })

// The typed operations of the tests and the dashboard.
const isOurs = (path) => /\.(ts|tsx|graphql)$/.test(path) && !path.includes('/gql/')
const inputs = ['codegen.ts', 'schema.graphql', 'tests', 'src/dashboard', 'src/cli'].flatMap((path) =>
  filesIn(path, isOurs),
)
if (inputs.includes('codegen.ts')) {
  whenChanged({ stamp: 'tests/support/gql/.stamp', print: fingerprint(inputs), force }, () =>
    run('Generating the typed operations …', '@graphql-codegen/cli/esm/bin.js', ['--config', 'codegen.ts', '--silent']),
  )
}
