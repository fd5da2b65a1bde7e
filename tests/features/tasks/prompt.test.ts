import { expect, test } from 'vitest'
import { buildMessages, charactersPerDependency, dependencyBudget } from '../../../src/features/tasks/engine/prompt.ts'
import { createDependencyResults } from '../../../src/features/tasks/engine/dependency-results.ts'
import { createTransitions } from '../../../src/features/tasks/engine/transitions.ts'
import { makeNewTask, seedAgent } from '../../support/seed.ts'
import { startTestDatabase } from '../../support/test-database.ts'
import { createTestRuns } from './runs.ts'

test('tells a task what those it depends on have come to, and what is cut of it', async () => {
  await using db = await startTestDatabase()
  const transitions = createTransitions({ db })
  const runs = createTestRuns(transitions)
  const agent = await seedAgent(db)
  const [fetch, parse] = [makeNewTask(agent, { name: 'Fetch' }), makeNewTask(agent)]
  await transitions.create([fetch, parse])
  const last = makeNewTask(agent, { prompt: 'Sum up.', dependsOn: [parse.id, fetch.id], onDependencyFailure: 'RUN' })
  await transitions.create([last])
  const output = { segment: 1, model: 'p/m', reason: null, text: '👋👋👋 "quoted"' }
  await runs.end(await runs.claimTask(agent.workspaceId, fetch.id), { output })
  const error = { code: 'OVERLOADED', message: 'The model is overloaded.', retryable: false }
  await runs.end(await runs.claimTask(agent.workspaceId, parse.id), { outcome: 'FAILED', error })
  const run = await runs.claimTask(agent.workspaceId, last.id)

  const results = await createDependencyResults({ db }).read(last.id, 2)

  expect(buildMessages(run, results)).toEqual([
    { role: 'system', content: 'Work.' },
    {
      role: 'user',
      content: [
        'Sum up.\n\nResults of the tasks that this one depends on (JSON):',
        '[',
        '  {',
        '    "name": null,',
        '    "status": "FAILED",',
        '    "output": null,',
        '    "reason": "The model is overloaded."',
        '  },',
        '  {',
        '    "name": "Fetch",',
        '    "status": "SUCCEEDED",',
        '    "output": "👋👋",',
        '    "outputCut": "Only the first 2 of 12 characters are shown."',
        '  }',
        ']',
      ].join('\n'),
    },
  ])
})

test('shares what a prompt may have of all outputs evenly, and is never over it', () => {
  expect([1, 4, 5, 100].map((count) => charactersPerDependency(count))).toEqual([32_768, 32_768, 26_214, 1_310])
  expect(charactersPerDependency(100) * 100).toBeLessThanOrEqual(dependencyBudget.total)
})
