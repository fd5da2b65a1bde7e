import { fingerprint, run, whenChanged } from './run.mjs'

/** `src/generated`: Prisma's client and Pothos' types, when the schema or a generator has changed. Needs no network. */
export function generatePrisma({ force }) {
  const sources = [
    'prisma/schema.prisma',
    'node_modules/prisma/package.json',
    'node_modules/@pothos/plugin-prisma/package.json',
  ]
  whenChanged({ stamp: 'src/generated/.stamp', print: fingerprint(sources), force }, () =>
    run('Generating the database client …', 'prisma/build/index.js', ['generate', '--schema', 'prisma/schema.prisma'], {
      // Generating is WebAssembly; the CLI only wants to see that its engine is there, and would download it otherwise.
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
      PRISMA_HIDE_UPDATE_MESSAGE: '1',
      CHECKPOINT_DISABLE: '1',
    }),
  )
}
