import { isUuid } from '../lib/ids.ts'
import { maxPageSize } from '../lib/keyset-page.ts'
import type { InputProblem } from '../lib/parse-input.ts'

type ConnectionArguments = { first?: unknown; after?: unknown; last?: unknown; before?: unknown }

/** What is wrong with the arguments of a Relay connection; a page goes forward (`first`, `after`) or back (`last`, `before`). */
export function* connectionProblems(
  args: ConnectionArguments,
  { checksOwnCursor }: { checksOwnCursor: boolean },
): Generator<InputProblem> {
  for (const field of ['first', 'last'] as const) {
    const size = args[field]
    if (typeof size === 'number' && (size < 0 || size > maxPageSize))
      yield { field, message: `It must be between 0 and ${maxPageSize}.` }
  }
  for (const field of ['after', 'before'] as const) {
    const cursor = args[field]
    if (!checksOwnCursor && typeof cursor === 'string' && !isRowCursor(cursor))
      yield { field, message: 'This is not a cursor of this list.' }
  }
  const forward = given(args.first) ? 'first' : given(args.after) ? 'after' : null
  const back = given(args.last) ? 'last' : given(args.before) ? 'before' : null
  if (forward !== null && back !== null) yield { field: back, message: `It cannot be combined with "${forward}".` }
}

const given = (value: unknown): boolean => value !== null && value !== undefined

/** True for the cursor that the Prisma plugin gives a row whose cursor column is a UUID: `GPC:S:<uuid>` in base64. */
function isRowCursor(cursor: string): boolean {
  const text = Buffer.from(cursor, 'base64').toString('utf8')
  const id = text.startsWith('GPC:S:') ? text.slice('GPC:S:'.length) : ''
  return isUuid(id) && Buffer.from(text).toString('base64') === cursor
}
