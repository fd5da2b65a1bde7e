import type { Reader } from '../../tests/support/task-reader.ts'
import type { Page } from './page.ts'

/** Tells what a subscriber hears, and has the worker killed (once) when there is enough to lose. */
export interface Story {
  /** To be called after each item of the stream. */
  hear(reader: Reader): void
  /** From the kill to the task running again, in milliseconds; null: it did not come to that. */
  recoveryMs(): number | null
  end(): void
}

export type StoryDeps = {
  page: Page
  /** Returns what it did, in words. */
  killWorker: () => string
}

const piecesBeforeKill = 25

const meaning: Readonly<Record<string, string>> = {
  QUEUED: 'the lease has run out, so the task waits for a worker again',
  RUNNING: 'the other worker has taken over',
}

export function createStory({ page, killWorker }: StoryDeps): Story {
  let shown = ''
  let statuses = 0
  let killedAtMs: number | null = null
  let recoveredAtMs: number | null = null
  let ticking: NodeJS.Timeout | undefined

  function kill(): void {
    page.note('', killWorker())
    page.note(
      '',
      'Nobody is told. Its lease on the task lasts for 12 s at most; until it has run out, no other may have it.',
    )
    killedAtMs = performance.now()
    ticking = setInterval(() => page.tick(), 1_000)
  }

  function tell(status: string): void {
    clearInterval(ticking)
    if (killedAtMs === null) return page.note(status, '')
    const sinceMs = performance.now() - killedAtMs
    if (status === 'RUNNING') recoveredAtMs ??= performance.now()
    const words = [`${seconds(sinceMs)} after the kill`, meaning[status] ?? null]
    page.note(status, words.filter((part) => part !== null).join(': '))
  }

  return {
    hear({ text, statuses: heard, pieces }) {
      for (const status of heard.slice(statuses)) tell(status)
      statuses = heard.length
      // Only a reset makes it shorter.
      if (text.length < shown.length) page.note('OutputReset', 'what came before is void, and the answer begins again')
      page.text(text.length < shown.length ? text : text.slice(shown.length))
      shown = text
      if (killedAtMs === null && pieces >= piecesBeforeKill) kill()
    },
    recoveryMs: () => (killedAtMs === null || recoveredAtMs === null ? null : recoveredAtMs - killedAtMs),
    end: () => clearInterval(ticking),
  }
}

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
