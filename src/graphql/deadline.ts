import { AppError } from '../lib/errors.ts'

/** A signal for work that ends when the caller is gone or when time is up. */
export type Deadline = {
  signal: AbortSignal
  /** Rejects with AppError when time is up; otherwise never settles. */
  passed: Promise<never>
  /** Frees the timer and the listener. */
  clear(): void
}

/** `limitMs` null: no limit but the caller's presence. */
export function createDeadline(callerSignal: AbortSignal, limitMs: number | null): Deadline {
  const over = new AbortController()
  const onGone = (): void => over.abort()
  callerSignal.addEventListener('abort', onGone, { once: true })
  if (callerSignal.aborted) over.abort()
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<never>((_resolve, reject) => {
    if (limitMs === null) return
    timer = setTimeout(() => {
      // First the answer, then the abort: what the abort breaks must not be faster.
      reject(tookTooLong(limitMs))
      over.abort()
    }, limitMs)
  })
  return {
    signal: over.signal,
    passed,
    clear() {
      clearTimeout(timer)
      callerSignal.removeEventListener('abort', onGone)
    },
  }
}

function tookTooLong(limitMs: number): AppError {
  return new AppError('SERVICE_UNAVAILABLE', `The operation took longer than ${limitMs / 1_000} s.`, {
    details: { limit: 'executionMs', maximum: limitMs },
    suggestions: [
      'Ask for less at once.',
      'What a mutation did before stays done: look at the state before you send it again.',
    ],
  })
}
