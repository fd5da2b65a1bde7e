import { expect, test } from 'vitest'
import { histogramClass, histogramQuantile } from '../../src/lib/log-histogram.ts'

function histogramOf(values: readonly number[]): Map<number, number> {
  const histogram = new Map<number, number>()
  for (const value of values) {
    const index = histogramClass(value)
    histogram.set(index, (histogram.get(index) ?? 0) + 1)
  }
  return histogram
}

test.each([0.02, 3, 850, 1_234_567])('knows a quantile to five per cent, at %d', (scale) => {
  const values = Array.from({ length: 1_000 }, (_, n) => ((n + 1) / 1_000) * scale)
  for (const quantile of [0.01, 0.5, 0.99, 1]) {
    const found = histogramQuantile(histogramOf(values), quantile) ?? 0
    expect(found / (quantile * scale)).toBeGreaterThan(0.95)
    expect(found / (quantile * scale)).toBeLessThan(1.05)
  }
})

test('counts zero and knows nothing of nothing', () => {
  expect(histogramQuantile(histogramOf([]), 0.5)).toBeNull()
  expect(histogramQuantile(histogramOf([0, 0]), 0.5)).toBeLessThan(0.000_01)
})
