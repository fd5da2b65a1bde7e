// Writes schema.graphql, which clients and the typed operations of the tests are made from; a test holds it to the code.
import { writeFile } from 'node:fs/promises'
import { printedSchema } from '../src/graphql/schema.ts'

await writeFile(new URL('../schema.graphql', import.meta.url), printedSchema())
