import { createContext, Script } from 'node:vm'
import { isRecord } from './json-value.ts'

/** Runs synchronous work that somebody else's input could make endless, and stops it in the middle. */
export interface TimeLimit {
  /** The result of `work`, or a TimeLimitError when it took longer than `maxMs` milliseconds. */
  run<T>(work: () => T, maxMs: number): T
}

export class TimeLimitError extends Error {
  constructor(maxMs: number, options: { cause: unknown }) {
    super(`it took longer than ${String(maxMs)} ms`, options)
    this.name = 'TimeLimitError'
  }
}

/**
 * V8 can stop running code only from the outside, and node:vm's time-out is the way to ask for it: a regular expression
 * that backtracks for ever is interrupted too. The context isolates nothing and is not meant to; a run costs about 0.1
 * ms.
 */
export function createTimeLimit(): TimeLimit {
  const sandbox: { work: () => void } = { work: () => undefined }
  const context = createContext(sandbox)
  const script = new Script('work()')
  return {
    run<T>(work: () => T, maxMs: number): T {
      let result: { value: T } | undefined
      sandbox.work = () => {
        result = { value: work() }
      }
      try {
        script.runInContext(context, { timeout: maxMs })
      } catch (error) {
        // It is an Error of the context, not of ours: instanceof says no.
        if (isRecord(error) && error['code'] === 'ERR_SCRIPT_EXECUTION_TIMEOUT') {
          throw new TimeLimitError(maxMs, { cause: error })
        }
        throw error
      } finally {
        sandbox.work = () => undefined
      }
      if (result === undefined) throw new Error('the work did not run')
      return result.value
    },
  }
}
