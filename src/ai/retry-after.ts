/** The part of a response's headers that is read here. */
export type HeaderReader = { get(name: string): string | null }

/**
 * How long a provider asks to be left alone, in milliseconds: `retry-after-ms` (OpenAI and Azure), else `Retry-After`
 * in seconds or as a date (RFC 9110, section 10.2.3). Null when it says nothing that can be read.
 */
export function retryAfterMs(headers: HeaderReader, now: Date): number | null {
  const milliseconds = readNumber(headers.get('retry-after-ms'))
  if (milliseconds !== null) return Math.max(0, Math.ceil(milliseconds))
  const value = headers.get('retry-after')
  const seconds = readNumber(value)
  if (seconds !== null) return Math.max(0, Math.ceil(seconds * 1000))
  const date = Date.parse(value ?? '')
  return Number.isNaN(date) ? null : Math.max(0, date - now.getTime())
}

function readNumber(value: string | null): number | null {
  if (value === null || value.trim() === '') return null
  const number = Number(value)
  return Number.isFinite(number) ? number : null
}
