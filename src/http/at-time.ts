const maxTimerMs = 2 ** 31 - 1

/** Calls `action` at `time` unless the returned function is called before. */
export function atTime(time: Date, now: Date, action: () => void): () => void {
  const timer = setTimeout(action, Math.min(Math.max(time.getTime() - now.getTime(), 0), maxTimerMs))
  timer.unref()
  return () => clearTimeout(timer)
}
