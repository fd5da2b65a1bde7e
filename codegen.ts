import type { CodegenConfig } from '@graphql-codegen/cli'

/** Types for the operations that the tests send: `graphql('query …')` from tests/support/gql knows its variables and its result. */
const config: CodegenConfig = {
  schema: './schema.graphql',
  documents: ['tests/**/*.ts', '!tests/support/gql/**'],
  generates: {
    './tests/support/gql/': {
      preset: 'client',
      presetConfig: { fragmentMasking: false },
      config: {
        documentMode: 'string',
        useTypeImports: true,
        enumsAsTypes: true,
        scalars: { DateTime: 'string', JSON: 'unknown', SafeInt: 'number' },
      },
    },
  },
  importExtension: '.ts',
  ignoreNoDocuments: true,
}

export default config
