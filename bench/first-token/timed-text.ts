/** A piece of a text: where it begins, in UTF-16 units, and when it was seen, on the clock of performance.now(). */
export type TimedPiece = { offset: number; text: string; atMs: number }

export type Spread = { count: number; p50: number; p99: number; max: number }

/**
 * For each piece that was sent, in order, how long until the reader had all of it; pieces may be joined on their way. Throws unless both
 * sides make up exactly `whole`, without a gap: a delay of text that is not the right one means nothing.
 */
export function delaysMs(whole: string, sent: readonly TimedPiece[], received: readonly TimedPiece[]): number[] {
  requireWhole('upstream sent', sent, whole)
  requireWhole('the reader has', received, whole)
  return sent.map((piece) => {
    const arrival = received.find((one) => endOf(one) >= endOf(piece))
    if (arrival === undefined) throw new Error('a whole text has a piece that never came')
    return arrival.atMs - piece.atMs
  })
}

/** Nearest rank; of an empty list all are NaN. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const rank = (part: number): number => sorted[Math.ceil(sorted.length * part) - 1] ?? Number.NaN
  return { count: sorted.length, p50: rank(0.5), p99: rank(0.99), max: rank(1) }
}

function requireWhole(who: string, pieces: readonly TimedPiece[], whole: string): void {
  let text = ''
  for (const piece of pieces) {
    if (piece.offset !== text.length) throw new Error(`${who} offset ${piece.offset} after ${text.length} units`)
    text += piece.text
  }
  if (text !== whole) throw new Error(`${who} ${JSON.stringify(text)} instead of ${JSON.stringify(whole)}`)
}

const endOf = ({ offset, text }: TimedPiece): number => offset + text.length
