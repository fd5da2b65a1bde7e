import type { WorkspaceRole } from '../../generated/prisma/client.ts'
import { AppError } from '../../lib/errors.ts'
import type { Database, Statement } from '../../platform/database/database.ts'
import type { Logger } from '../../platform/logger.ts'
import type { AccessChange, AccessChanges } from '../accounts/access-changes.ts'
import type { Viewer } from '../accounts/viewer.ts'
import { requireRole, type Membership } from './access.ts'
import { revocable, type Revocable } from './revocable.ts'

/** Who has to be what, where, for as long as a stream lasts. */
export type LiveScope = { viewer: Viewer; workspaceId: string; role: WorkspaceRole }

/** Authorises live streams again when a membership changes: queries ask with every request, a stream would ask once. */
export interface LiveAccess {
  /**
   * The items of `open`, for as long as the viewer is at least `role` in the workspace. After that the iteration throws NotFoundError or
   * ForbiddenError: within 1 s of the change on any process, within 30 s if the message is lost. Whether they are allowed to begin with is up
   * to `open`; what changes while it runs is not missed.
   */
  guard<Item>(
    scope: LiveScope,
    open: () => Promise<AsyncGenerator<Item, void, undefined>> | AsyncGenerator<Item, void, undefined>,
  ): Promise<AsyncGenerator<Item, void, undefined>>
  /** Looks after no stream any more. */
  close(): void
}

export type LiveAccessDeps = {
  db: Database
  changes: AccessChanges
  logger: Logger
  /** How often all are looked at without a message. Default 30 s. */
  sweepEveryMs?: number | undefined
}

type Guarded = { scope: LiveScope; revocable: Revocable }

const defaultSweepEveryMs = 30_000

const membershipsStatement: Statement = {
  name: 'live_memberships',
  text: `SELECT m.id, m.workspace_id AS "workspaceId", m.user_id AS "userId", m.role
           FROM unnest($1::uuid[], $2::uuid[]) AS wanted (workspace_id, user_id)
           JOIN workspace_member m USING (workspace_id, user_id)`,
}

export function createLiveAccess({ db, changes, logger, sweepEveryMs }: LiveAccessDeps): LiveAccess {
  const all = new Set<Guarded>()

  /** One statement for all of them. */
  async function check(guarded: readonly Guarded[]): Promise<void> {
    if (guarded.length === 0) return
    const pairs = new Map(guarded.map(({ scope }) => [keyOf(scope), scope]))
    const workspaceIds = [...pairs.values()].map(({ workspaceId }) => workspaceId)
    const userIds = [...pairs.values()].map(({ viewer }) => viewer.userId)
    const rows = await db.query<Membership>(membershipsStatement, [workspaceIds, userIds], { retry: true })
    const memberships = new Map(rows.map((row) => [`${row.workspaceId} ${row.userId}`, row]))
    for (const { scope, revocable: stream } of guarded) {
      const refusal = refusalOf(memberships.get(keyOf(scope)), scope.role)
      if (refusal !== null) stream.revoke(refusal)
    }
  }

  function checkSoon(guarded: readonly Guarded[]): void {
    void check(guarded).catch((err: unknown) => {
      logger.warn({ err }, 'streams could not be authorised again; they are within 30 s')
    })
  }

  const stopListening = changes.onChange((change) => checkSoon([...all].filter(({ scope }) => isAbout(change, scope))))
  const timer = setInterval(() => checkSoon([...all]), sweepEveryMs ?? defaultSweepEveryMs).unref()

  return {
    async guard(scope, open) {
      const stream = revocable()
      const guarded = { scope, revocable: stream }
      all.add(guarded)
      try {
        return stream.wrap(await open(), () => void all.delete(guarded))
      } catch (error) {
        all.delete(guarded)
        throw error
      }
    },
    close() {
      clearInterval(timer)
      stopListening()
      all.clear()
    },
  }
}

const keyOf = ({ workspaceId, viewer }: LiveScope): string => `${workspaceId} ${viewer.userId}`

function isAbout(change: AccessChange, { viewer, workspaceId }: LiveScope): boolean {
  // What happens to an account or a session closes the whole connection.
  return change.kind === 'member' && change.userId === viewer.userId && change.workspaceId === workspaceId
}

function refusalOf(membership: Membership | undefined, role: WorkspaceRole): AppError | null {
  try {
    requireRole(membership, role)
    return null
  } catch (error) {
    if (error instanceof AppError) return error
    throw error
  }
}
