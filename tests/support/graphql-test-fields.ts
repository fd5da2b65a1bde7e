import { EventEmitter, once } from 'node:events'
import { z } from 'zod'
import { builder } from '../../src/graphql/builder.ts'
import { ConflictError, NotFoundError } from '../../src/lib/errors.ts'

/**
 * Fields beside the real ones, for what no real field does on request: fail unexpectedly, echo its arguments, never end. Import
 * this before the server starts.
 */
export const secretOfBug = 'SELECT password_hash FROM user'

/** What the test fields have done; emits an event for each. */
class Probe extends EventEmitter<{ started: []; pulled: [number]; ended: [string]; released: [] }> {
  pulls = 0
  count = 0

  /** Resolves when it happens, from now on; rejects after `ms`. */
  async next(event: 'started' | 'ended', ms = 5_000): Promise<unknown> {
    return once(this, event, { signal: AbortSignal.timeout(ms) })
  }
}

export const probe = new Probe()

const TestPersonRef = builder.prismaNode('User', {
  variant: 'TestPerson',
  description: 'For tests.',
  id: { field: 'id' },
  nullable: true,
  fields: (t) => ({ email: t.exposeString('email', { description: 'For tests.' }) }),
})

const TestInput = builder.inputType('TestInput', {
  description: 'For tests.',
  validate: z.looseObject({
    name: z.string().min(2, 'At least two characters.').nullish(),
    short: z.string().max(3, 'At most three characters.').nullish(),
  }),
  fields: (t) => ({
    personId: t.globalID({ for: TestPersonRef, description: 'For tests.' }),
    personIds: t.globalIDList({ for: TestPersonRef, description: 'For tests.' }),
    name: t.string({ description: 'For tests.' }),
    short: t.string({ description: 'For tests.' }),
    json: t.field({ type: 'JSON', description: 'For tests.' }),
    at: t.field({ type: 'DateTime', description: 'For tests.' }),
    count: t.int({ description: 'For tests.' }),
    nested: t.field({ type: TestNestedInput, description: 'For tests.' }),
  }),
})

const TestNestedInput = builder.inputType('TestNestedInput', {
  description: 'For tests.',
  fields: (t) => ({
    role: t.string({ required: true, description: 'For tests.' }),
    personId: t.globalID({ for: TestPersonRef, description: 'For tests.' }),
  }),
})

builder.queryFields((t) => ({
  testOpen: t.string({ description: 'For tests.', skipTypeScopes: true, resolve: () => 'open' }),
  testClosed: t.string({ description: 'For tests.', resolve: () => 'closed' }),
  testAdmin: t.string({ description: 'For tests.', authScopes: { admin: true }, resolve: () => 'admin' }),
  testBug: t.string({
    description: 'For tests.',
    skipTypeScopes: true,
    nullable: true,
    resolve: () => {
      throw new Error(secretOfBug)
    },
  }),
  testNoDatabase: t.string({
    description: 'For tests.',
    skipTypeScopes: true,
    nullable: true,
    resolve: () => {
      throw Object.assign(new Error('terminating connection due to administrator command'), { code: '57P01' })
    },
  }),
  testHang: t.string({
    description: 'For tests.',
    skipTypeScopes: true,
    nullable: true,
    resolve: () => new Promise<string>(() => {}),
  }),
  testUnserializable: t.field({
    type: 'Int',
    description: 'For tests.',
    skipTypeScopes: true,
    nullable: true,
    resolve: () => 2 ** 40,
  }),
  testConflict: t.string({
    description: 'For tests.',
    skipTypeScopes: true,
    nullable: true,
    resolve: () => {
      throw new ConflictError('It is taken.', { details: { field: 'name' }, suggestions: ['Take another.'] })
    },
  }),
  testEcho: t.field({
    type: 'JSON',
    nullable: true,
    description: 'For tests.',
    skipTypeScopes: true,
    args: {
      input: t.arg({ type: TestInput, description: 'For tests.' }),
      id: t.arg.globalID({ for: TestPersonRef, description: 'For tests.' }),
      count: t.arg.int({ required: true, defaultValue: 1, description: 'For tests.' }),
    },
    resolve: (_root, args) => args,
  }),
  testPeople: t.prismaConnection({
    type: TestPersonRef,
    cursor: 'id',
    description: 'For tests.',
    skipTypeScopes: true,
    resolve: (query, _root, _args, { services }) =>
      services.db.prisma.user.findMany({ ...query, orderBy: { id: 'asc' } }),
  }),
}))

builder.mutationFields((t) => ({
  testCount: t.int({
    description: 'For tests.',
    skipTypeScopes: true,
    resolve: () => {
      probe.count += 1
      return probe.count
    },
  }),
  testUntilReleased: t.string({
    description: 'For tests.',
    skipTypeScopes: true,
    resolve: async () => {
      const released = once(probe, 'released')
      probe.emit('started')
      await released
      return 'released'
    },
  }),
  testSlow: t.string({
    description: 'For tests.',
    skipTypeScopes: true,
    resolve: async (_root, _args, { signal }) => {
      probe.emit('started')
      await once(signal, 'abort')
      probe.emit('ended', 'aborted')
      return 'aborted'
    },
  }),
}))

builder.subscriptionFields((t) => ({
  testTicks: t.int({
    description: 'For tests.',
    skipTypeScopes: true,
    args: { count: t.arg.int({ required: true, description: 'For tests.' }) },
    subscribe: (_root, { count }) => ticks(count),
    resolve: (tick) => tick,
  }),
  testSilence: t.int({
    description: 'For tests.',
    skipTypeScopes: true,
    subscribe: (_root, _args, { signal }) => silence(signal),
    resolve: (tick) => tick,
  }),
  testPrivateTicks: t.int({
    description: 'For tests.',
    subscribe: () => ticks(1),
    resolve: (tick) => tick,
  }),
  testFlood: t.string({
    description: 'For tests.',
    skipTypeScopes: true,
    args: { bytes: t.arg.int({ required: true, description: 'For tests.' }) },
    subscribe: (_root, { bytes }, { signal }) => flood(bytes, signal),
    resolve: (text) => text,
  }),
  testRefused: t.int({
    description: 'For tests.',
    skipTypeScopes: true,
    subscribe: (): AsyncGenerator<number> => {
      throw new NotFoundError('thing')
    },
    resolve: (tick) => tick,
  }),
  testBreak: t.int({
    description: 'For tests.',
    skipTypeScopes: true,
    subscribe: async function* () {
      yield 1
      throw new Error(secretOfBug)
    },
    resolve: (tick) => tick,
  }),
}))

async function* ticks(count: number): AsyncGenerator<number> {
  for (let tick = 1; tick <= count; tick += 1) yield tick
}

/** Says nothing until it is told to stop, as a quiet feed. */
async function* silence(signal: AbortSignal): AsyncGenerator<number> {
  try {
    yield 0
    probe.emit('started')
    await once(signal, 'abort')
  } finally {
    probe.emit('ended', 'silence')
  }
}

async function* flood(bytes: number, signal: AbortSignal): AsyncGenerator<string> {
  const text = 'x'.repeat(bytes)
  probe.pulls = 0
  try {
    while (!signal.aborted) {
      probe.pulls += 1
      probe.emit('pulled', probe.pulls)
      yield text
    }
  } finally {
    probe.emit('ended', 'flood')
  }
}
