import { expect, test } from 'vitest'
import { statusReason, type Explained } from '../../../src/features/tasks/status-reason.ts'
import type { AgentLoad } from '../../../src/features/tasks/task-queries.ts'

const task: Explained = {
  status: 'QUEUED',
  reason: null,
  runAt: null,
  unmetDependencies: 0,
  cancelRequestedAt: null,
  cancelReason: null,
}
const agent: AgentLoad = { status: 'ACTIVE', concurrency: 10, running: 3 }
const at = new Date('2026-03-01T12:00:00.000Z')

test.each<[string | null, Partial<Explained>, Partial<AgentLoad>]>([
  ['It waits for a free worker.', {}, {}],
  ['Its agent is paused.', { reason: 'Released.' }, { status: 'PAUSED' }],
  ['Its agent is archived; it will be cancelled.', {}, { status: 'ARCHIVED' }],
  ['Its agent runs as many tasks at once as it may (10/10).', {}, { running: 10 }],
  ['Its agent runs as many tasks at once as it may (3/2).', {}, { concurrency: 2 }],
  ['The process was shut down.', { reason: 'The process was shut down.' }, {}],
  ['It waits for 1 other task to end.', { status: 'BLOCKED', unmetDependencies: 1 }, {}],
  ['It waits for 3 other tasks to end.', { status: 'BLOCKED', unmetDependencies: 3 }, {}],
  ['It is scheduled for 2026-03-01T12:00:00.000Z.', { status: 'SCHEDULED', runAt: at }, {}],
  [
    'It is scheduled for 2026-03-01T12:00:00.000Z. The model was busy.',
    { status: 'SCHEDULED', runAt: at, reason: 'The model was busy.' },
    {},
  ],
  [null, { status: 'RUNNING', reason: 'old' }, { status: 'PAUSED' }],
  ['It is being cancelled.', { status: 'RUNNING', cancelRequestedAt: at }, {}],
  ['It is being cancelled: not needed', { status: 'RUNNING', cancelRequestedAt: at, cancelReason: 'not needed' }, {}],
  [null, { status: 'SUCCEEDED' }, {}],
  ['not needed', { status: 'CANCELLED', reason: 'not needed' }, { status: 'PAUSED' }],
])('%s', (reason, ofTask, ofAgent) => {
  expect(statusReason({ ...task, ...ofTask }, { ...agent, ...ofAgent })).toBe(reason)
})

test('says what is stored when the agent could not be read', () => {
  expect(statusReason({ ...task, reason: 'Released.' }, null)).toBe('Released.')
})
