/**
 * Counts positive numbers in classes that are each a tenth wider than the one before, so that a quantile is at most five per cent off whatever
 * the scale, and those of several processes can be added up, which quantiles themselves cannot (HdrHistogram's idea, sparse).
 */
export type LogHistogram = ReadonlyMap<number, number>

const growth = Math.log(1.1)

/** The class that a number counts in. Numbers below a millionth count as one. */
export function histogramClass(value: number): number {
  return Math.floor(Math.log(Math.max(value, 1e-6)) / growth)
}

/** The value below which the share `quantile` (0 to 1) of what was counted lies; null when nothing was. */
export function histogramQuantile(histogram: LogHistogram, quantile: number): number | null {
  const classes = [...histogram].toSorted(([one], [other]) => one - other)
  const count = classes.reduce((sum, [, n]) => sum + n, 0)
  const rank = Math.max(1, Math.ceil(count * quantile))
  let seen = 0
  for (const [index, n] of classes) {
    seen += n
    if (seen >= rank) return Math.exp((index + 0.5) * growth)
  }
  return null
}
