/** JSON with the keys of every object in code-unit order, as in RFC 8785: equal values have equal texts. Dates become ISO strings. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) => (isPlainObject(member) ? sortKeys(member) : member))
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function sortKeys(value: Record<string, unknown>): Record<string, unknown> {
  // A null prototype, so that a key named __proto__ is one like any other.
  const sorted: Record<string, unknown> = Object.create(null)
  for (const key of Object.keys(value).toSorted()) sorted[key] = value[key]
  return sorted
}
