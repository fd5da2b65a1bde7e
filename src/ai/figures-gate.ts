import { admitted, type AttemptGate } from './admission.ts'
import type { BackgroundWork } from './background-work.ts'
import type { ModelFiguresRecorder } from './model-figures.ts'
import type { FiguresBoard } from './model-status.ts'

/** Counts the ends of calls, refuses none, and pins what was counted. */
export interface FiguresGate extends AttemptGate {
  /** Pins nothing more. */
  stop(): void
}

/** How far behind the others may be. */
const pinAfterMs = 2_000

export function createFiguresGate(deps: {
  figures: ModelFiguresRecorder
  board: FiguresBoard | null
  background: BackgroundWork
}): FiguresGate {
  const { figures, board, background } = deps
  let timer: NodeJS.Timeout | null = null

  function pinSoon(): void {
    if (board === null || timer !== null) return
    timer = setTimeout(() => {
      timer = null
      background.start('the figures of models could not be shared', board.pin(figures.note()))
    }, pinAfterMs)
    timer.unref()
  }

  return {
    admit: () => Promise.resolve(admitted),
    expectsToAdmit: () => true,
    async settle(_plan, end) {
      if (end.kind === 'not_sent') return
      figures.record(end.record)
      pinSoon()
    },
    stop() {
      if (timer !== null) clearTimeout(timer)
      timer = null
    },
  }
}
