import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum, DriverAdapterError } from '@prisma/driver-adapter-utils'
import type { MappedError, SqlDriverAdapter, SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils'
import { PrismaPg } from '@prisma/adapter-pg'
import type { SchemaEngine } from '@prisma/schema-engine-wasm'
import type * as BindingsModule from '@prisma/schema-engine-wasm/schema_engine_bg'
import pg from 'pg'

/**
 * Prisma's schema engine as WebAssembly: what `prisma migrate` does, without the binary that it would download.
 * `pool` must have exactly one connection, and is not closed here. `shadowPool` is an empty database, which only
 * comparing with the migrations needs.
 */
export async function createSchemaEngine({ pool, shadowPool }: SchemaEngineOptions): Promise<SchemaEngine> {
  const { SchemaEngine } = await loadBindings()
  const adapterFactory: SqlMigrationAwareDriverAdapterFactory = {
    provider: 'postgres',
    adapterName: '@prisma/adapter-pg',
    connect: () => connectAdapter(pool),
    async connectToShadowDb() {
      if (shadowPool === undefined) throw new Error('this use of the schema engine has no shadow database')
      return connectAdapter(shadowPool)
    },
  }
  // Its log repeats the errors that it throws.
  const ignoreLog = (): void => {}
  return SchemaEngine.new({ datamodels: undefined }, ignoreLog, bindMigrationAwareSqlAdapterFactory(adapterFactory))
}

export type SchemaEngineOptions = { pool: pg.Pool; shadowPool?: pg.Pool }

export const noSchemaFilters = { externalTables: [], externalEnums: [] }

type Bindings = typeof BindingsModule

// Of the standard library's types only `dom` has this.
declare const WebAssembly: {
  instantiate(bytes: Uint8Array, imports: Record<string, object>): Promise<{ instance: { exports: WasmExports } }>
}
type WasmExports = Record<string, unknown>

let bindings: Promise<Bindings> | undefined

// The package keeps its instance in a module variable, so there is one for the process, made when first asked for.
const loadBindings = (): Promise<Bindings> => (bindings ??= instantiate())

// The package's own entry imports the .wasm file as a module, which Node 20 does not do.
async function instantiate(): Promise<Bindings> {
  const entry = createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm')
  const [glue, wasm] = await Promise.all([
    import('@prisma/schema-engine-wasm/schema_engine_bg'),
    readFile(entry.replace(/schema_engine\.js$/, 'schema_engine_bg.wasm')),
  ])
  const { instance } = await WebAssembly.instantiate(wasm, { './schema_engine_bg.js': withoutLingeringTimers(glue) })
  glue.__wbg_set_wasm(instance.exports)
  // Where it says why it panics; without it that is lost.
  Reflect.set(globalThis, 'PRISMA_WASM_PANIC_REGISTRY', { set_message: failOnPanic })
  const start = instance.exports['__wbindgen_start']
  if (typeof start !== 'function') throw new Error('this is not the schema engine that we know')
  start()
  return glue
}

function failOnPanic(message: string): never {
  throw new Error(`Prisma's schema engine broke: ${message}`)
}

// It guards its lock with a timer of 10 s that it never clears, and that would keep a finished command alive for as long.
function withoutLingeringTimers(glue: Bindings): object {
  const imports = Object.entries(glue).map(([name, value]) =>
    name.startsWith('__wbg_setTimeout_') ? [name, unreferencedTimeout] : [name, value],
  )
  return Object.fromEntries(imports)
}

const unreferencedTimeout = (callback: () => void, ms: number): NodeJS.Timeout => setTimeout(callback, ms).unref()

// What the engine needs beyond the adapter (7.10):
// - Scripts as a whole. The adapter cuts them at every semicolon, also inside of function bodies; Postgres runs a whole script
//   itself, and as one transaction, so that a migration that fails leaves nothing behind.
// - The catalogue's type "char", which the adapter does not know and which describing constraints reads.
async function connectAdapter(pool: pg.Pool): Promise<SqlDriverAdapter> {
  const charColumns = new WeakMap<object, number[]>()
  const adapter = await new PrismaPg(readingChars(pool, charColumns)).connect()
  return {
    provider: adapter.provider,
    adapterName: adapter.adapterName,
    async queryRaw(query) {
      const result = await adapter.queryRaw(query)
      for (const column of charColumns.get(result.rows) ?? []) result.columnTypes[column] = ColumnTypeEnum.Character
      return result
    },
    executeRaw: (query) => adapter.executeRaw(query),
    startTransaction: (isolationLevel) => adapter.startTransaction(isolationLevel),
    dispose: () => adapter.dispose(),
    async executeScript(script) {
      try {
        await pool.query(script)
      } catch (error) {
        throw error instanceof pg.DatabaseError ? new DriverAdapterError(toEngineError(error)) : error
      }
    },
    ...(adapter.getConnectionInfo && { getConnectionInfo: adapter.getConnectionInfo.bind(adapter) }),
  }
}

// The adapter sees text there; which columns it was is remembered by their rows.
function readingChars(pool: pg.Pool, charColumns: WeakMap<object, number[]>): pg.Pool {
  const { CHAR, TEXT } = pg.types.builtins
  async function query(config: pg.QueryConfig): Promise<pg.QueryResult> {
    const result = await pool.query(config)
    const columns = result.fields.flatMap((field, index) => (field.dataTypeID === CHAR ? [index] : []))
    for (const column of columns) Object.assign(result.fields[column] ?? {}, { dataTypeID: TEXT })
    charColumns.set(result.rows, columns)
    return result
  }
  return new Proxy(pool, { get: (target, key) => (key === 'query' ? query : Reflect.get(target, key, target)) })
}

function toEngineError({ code, message, severity, detail, column, hint }: pg.DatabaseError): MappedError {
  return { kind: 'postgres', code: code ?? 'N/A', severity: severity ?? 'N/A', message, detail, column, hint }
}
