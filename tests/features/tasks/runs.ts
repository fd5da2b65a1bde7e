import type { ClaimedRun } from '../../../src/features/tasks/engine/task-json.ts'
import type { StepResult, Transitions } from '../../../src/features/tasks/engine/transitions.ts'
import type { RunEnd, Wish } from '../../../src/features/tasks/engine/transition-input.ts'
import { newId } from '../../../src/lib/ids.ts'

/** A worker without models: claims runs and ends them as it is told. */
export interface TestRuns {
  /** Claims what the workspace has, at most `slots`. */
  claim(workspaceId: string, slots?: number): Promise<readonly ClaimedRun[]>
  /** Claims just this task; fails when another comes first. */
  claimTask(workspaceId: string, taskId: string): Promise<ClaimedRun>
  end(run: ClaimedRun, overrides?: Partial<RunEnd>): Promise<StepResult>
  endAll(ends: readonly RunEnd[]): Promise<StepResult>
}

const leaseMs = 60_000

export function createTestRuns(transitions: Transitions): TestRuns {
  const processId = newId()
  const step = (ends: readonly RunEnd[], claims: readonly Wish[]) =>
    transitions.step({ ends, claims, processId, leaseMs })

  const runs: TestRuns = {
    async claim(workspaceId, slots = 1) {
      const leaseTokens = Array.from({ length: slots }, () => newId())
      return (await step([], [{ workspaceId, leaseTokens, again: false }])).claimed
    },
    async claimTask(workspaceId, taskId) {
      const [run] = await runs.claim(workspaceId)
      if (run?.task.id !== taskId) throw new Error(`claimed ${run?.task.id ?? 'nothing'} instead of ${taskId}`)
      return run
    },
    end: (run, overrides) => step([endOf(run, overrides)], []),
    endAll: (ends) => step(ends, []),
  }
  return runs
}

/** The end of a run, SUCCEEDED unless something else is said. */
export function endOf({ task, leaseToken }: ClaimedRun, overrides: Partial<RunEnd> = {}): RunEnd {
  return {
    taskId: task.id,
    leaseToken,
    outcome: 'SUCCEEDED',
    reason: null,
    retryDelayMs: null,
    error: null,
    output: null,
    outputJson: null,
    model: 'p/m',
    timeToFirstTokenMs: null,
    calls: [],
    ...overrides,
  }
}
