import { expect, test } from 'vitest'
import { statusReason, type Explained, type Surroundings } from '../../../src/features/tasks/status-reason.ts'

const task: Explained = {
  status: 'QUEUED',
  reason: null,
  runAt: null,
  unmetDependencies: 0,
  cancelRequestedAt: null,
  cancelReason: null,
  attemptsUsed: 0,
  maxAttempts: 3,
  errorMessage: null,
}
const agent = { status: 'ACTIVE', concurrency: 10, running: 3 } as const
const around: Surroundings = { blockers: null, agent, workers: { alive: 2, claiming: 2 }, ahead: 0 }
const at = new Date('2026-03-01T12:00:00.000Z')
const blocked = { status: 'BLOCKED', unmetDependencies: 3 } as const
const scheduled = { status: 'SCHEDULED', runAt: at } as const
const full = { ...agent, running: 10 }

test.each<[string | null, Partial<Explained>, Partial<Surroundings>]>([
  ['It waits for a free worker.', {}, {}],
  ['It waits for a free worker, behind 1 other task of its agent.', {}, { ahead: 1 }],
  ['It waits for a free worker, behind 99 other tasks of its agent.', {}, { ahead: 99 }],
  ['It waits for a free worker, behind at least 100 other tasks of its agent.', {}, { ahead: 100 }],
  ['It waits for a free worker. The worker was lost.', { reason: 'The worker was lost.' }, {}],
  ['It waits for a free worker. The worker was shut down.', { reason: 'The worker was shut down.' }, { agent: null }],
  ['Its agent is paused.', {}, { agent: { ...agent, status: 'PAUSED' }, workers: { alive: 0, claiming: 0 } }],
  ['Its agent is archived; it will be cancelled.', {}, { agent: { ...agent, status: 'ARCHIVED' } }],
  ['Its agent runs as many tasks at once as it may (10/10).', {}, { agent: full }],
  ['Its agent runs as many tasks at once as it may (3/2).', {}, { agent: { ...agent, concurrency: 2 } }],
  [
    'Its agent runs as many tasks at once as it may (10/10), behind 4 other tasks of its agent.',
    {},
    { agent: full, ahead: 4 },
  ],
  ['No worker is running.', {}, { workers: { alive: 0, claiming: 0 }, ahead: 7 }],
  [
    'No worker takes tasks now: each is short of memory or is being shut down.',
    {},
    { workers: { alive: 1, claiming: 0 } },
  ],
  ['It waits for 1 other task to end.', { status: 'BLOCKED', unmetDependencies: 1 }, {}],
  ['It waits for 3 other tasks to end.', blocked, {}],
  ['It waits for "Fetch" to end.', blocked, { blockers: { count: 1, names: ['Fetch'] } }],
  ['It waits for "Fetch" and "Parse" to end.', blocked, { blockers: { count: 2, names: ['Fetch', 'Parse'] } }],
  [
    'It waits for "Fetch", "Parse" and "Load" to end.',
    blocked,
    { blockers: { count: 3, names: ['Fetch', 'Parse', 'Load'] } },
  ],
  [
    'It waits for "Fetch", "Parse", "Load" and 2 more to end.',
    blocked,
    { blockers: { count: 5, names: ['Fetch', 'Parse', 'Load'] } },
  ],
  ['It is scheduled for 2026-03-01T12:00:00.000Z.', scheduled, {}],
  [
    'It waits until 2026-03-01T12:00:00.000Z. The limit of its agent is full.',
    { ...scheduled, reason: 'The limit of its agent is full.' },
    {},
  ],
  [
    'Attempt 2 of 3 begins at 2026-03-01T12:00:00.000Z, because the last one failed: openai/m: overloaded (busy)',
    { ...scheduled, reason: 'old', attemptsUsed: 1, errorMessage: 'openai/m: overloaded (busy)' },
    {},
  ],
  [null, { status: 'RUNNING', reason: 'old' }, {}],
  ['It is being cancelled.', { status: 'RUNNING', cancelRequestedAt: at }, {}],
  ['It is being cancelled: not needed', { status: 'RUNNING', cancelRequestedAt: at, cancelReason: 'not needed' }, {}],
  [null, { status: 'SUCCEEDED' }, {}],
  ['not needed', { status: 'CANCELLED', reason: 'not needed' }, {}],
  ['A task that it depends on failed.', { status: 'SKIPPED', reason: 'A task that it depends on failed.' }, {}],
])('%s', (reason, ofTask, ofSurroundings) => {
  expect(statusReason({ ...task, ...ofTask }, { ...around, ...ofSurroundings })).toBe(reason)
})
