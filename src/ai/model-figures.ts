import { z } from 'zod'
import { histogramClass } from '../lib/log-histogram.ts'
import type { Clock } from '../lib/clock.ts'
import { LRUCache } from 'lru-cache'
import type { ModelName, UpstreamAttempt } from './model-call.ts'
import { parseJson } from './json-value.ts'

/** What the calls of a model were like in the last five minutes. */
export type ModelFigures = {
  /** What the provider said last had answered. */
  version: string | null
  requests: number
  errors: number
  costNanoUsd: number
  /** Milliseconds. */
  timeToFirstToken: Map<number, number>
  tokensPerSecond: Map<number, number>
}

/** Counts the calls of this process. */
export interface ModelFiguresRecorder {
  record(attempt: UpstreamAttempt): void
  /** What it has counted, as text for `mergeFigures`. */
  note(): string
}

export const figuresWindowMs = 300_000
const slotMs = 20_000
const maxModels = 200

type Slot = Omit<ModelFigures, 'version'> & { at: number }
type Counted = { version: string | null; slots: Slot[] }

const ignored: ReadonlySet<UpstreamAttempt['outcome']> = new Set(['aborted', 'option_refused'])

/** Slots of 20 s by the wall clock, so that whoever reads a note later knows what of it is still of interest. */
export function createModelFigures({ clock }: { clock: Clock }): ModelFiguresRecorder {
  const models = new LRUCache<ModelName, Counted>({ max: maxModels })

  function slotOf(counted: Counted): Slot {
    const at = Math.floor(clock.now().getTime() / slotMs) * slotMs
    const last = counted.slots.at(-1)
    if (last?.at === at) return last
    const slot: Slot = {
      at,
      requests: 0,
      errors: 0,
      costNanoUsd: 0,
      timeToFirstToken: new Map(),
      tokensPerSecond: new Map(),
    }
    counted.slots = [...counted.slots.filter((one) => one.at > at - figuresWindowMs), slot]
    return slot
  }

  return {
    record(attempt) {
      const { model, modelVersion, outcome, usage, timeToFirstTokenMs, durationMs } = attempt
      const counted = models.get(model) ?? { version: null, slots: [] }
      models.set(model, counted)
      counted.version = modelVersion ?? counted.version
      const slot = slotOf(counted)
      slot.requests++
      if (outcome !== 'succeeded' && !ignored.has(outcome)) slot.errors++
      slot.costNanoUsd += Number(usage?.costNanoUsd ?? 0n)
      if (timeToFirstTokenMs === null) return
      add(slot.timeToFirstToken, timeToFirstTokenMs)
      const writingMs = durationMs - timeToFirstTokenMs
      if (outcome === 'succeeded' && usage !== null && usage.outputTokens > 1 && writingMs > 0) {
        add(slot.tokensPerSecond, (usage.outputTokens / writingMs) * 1_000)
      }
    },
    note() {
      const entries = [...models.entries()].map(([model, { version, slots }]) => ({
        model,
        version,
        slots: slots.map(({ timeToFirstToken, tokensPerSecond, ...rest }) => ({
          ...rest,
          timeToFirstToken: [...timeToFirstToken],
          tokensPerSecond: [...tokensPerSecond],
        })),
      }))
      return JSON.stringify(entries)
    },
  }
}

function add(histogram: Map<number, number>, value: number): void {
  const index = histogramClass(value)
  histogram.set(index, (histogram.get(index) ?? 0) + 1)
}

const histogram = z.array(z.tuple([z.number(), z.number()]))
const noteSchema = z.array(
  z.object({
    model: z.string(),
    version: z.string().nullable(),
    slots: z.array(
      z.object({
        at: z.number(),
        requests: z.number(),
        errors: z.number(),
        costNanoUsd: z.number(),
        timeToFirstToken: histogram,
        tokensPerSecond: histogram,
      }),
    ),
  }),
)

/** Adds up the notes of several processes; what is none (of another version of the program) counts for nothing. */
export function mergeFigures(notes: readonly string[], now: Date): ReadonlyMap<ModelName, ModelFigures> {
  const sum = new Map<ModelName, ModelFigures>()
  for (const note of notes) {
    const parsed = noteSchema.safeParse(parseJson(note))
    for (const { model, version, slots } of parsed.success ? parsed.data : []) {
      const figures = sum.get(model) ?? noFigures()
      sum.set(model, figures)
      figures.version ??= version
      for (const slot of slots) {
        if (slot.at <= now.getTime() - figuresWindowMs) continue
        figures.requests += slot.requests
        figures.errors += slot.errors
        figures.costNanoUsd += slot.costNanoUsd
        addAll(figures.timeToFirstToken, slot.timeToFirstToken)
        addAll(figures.tokensPerSecond, slot.tokensPerSecond)
      }
    }
  }
  return sum
}

export function noFigures(): ModelFigures {
  return {
    version: null,
    requests: 0,
    errors: 0,
    costNanoUsd: 0,
    timeToFirstToken: new Map(),
    tokensPerSecond: new Map(),
  }
}

function addAll(into: Map<number, number>, counts: readonly [number, number][]): void {
  for (const [index, count] of counts) into.set(index, (into.get(index) ?? 0) + count)
}
