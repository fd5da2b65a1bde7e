/** Puts rows into the order of the ids that were asked for; null where there is none, as `node` and `nodes` answer. */
export function inOrder<Row extends { id: string }>(ids: readonly string[], rows: readonly Row[]): (Row | null)[] {
  const byId = new Map(rows.map((row) => [row.id, row]))
  return ids.map((id) => byId.get(id) ?? null)
}
