import { UnauthenticatedError } from '../../lib/errors.ts'
import type { Logger } from '../../platform/logger.ts'
import type { AccessChange, AccessChanges } from './access-changes.ts'
import type { Viewer } from './viewer.ts'

/** Viewers who stay for longer than one request: sockets and event streams. */
export interface LiveViewers {
  /**
   * Calls `onRefused` once when the viewer's session, key or account ends, or their role on this server is another: at once when that is
   * announced, within 30 s otherwise. Call what it returns when they have gone.
   */
  watch(viewer: Viewer, onRefused: () => void): () => void
  /** Watches nobody any more. */
  close(): void
}

export type LiveViewersDeps = {
  changes: AccessChanges
  logger: Logger
  /** Who the viewer is now; rejects with UnauthenticatedError when they are refused. */
  recheck: (viewer: Viewer) => Promise<Viewer>
  /** Reads what `recheck` looks at again, for all of them at once. */
  refresh: (viewers: readonly Viewer[]) => Promise<void>
  sweepEveryMs: number
}

type Watched = { viewer: Viewer; onRefused: () => void }

export function createLiveViewers(deps: LiveViewersDeps): LiveViewers {
  const { changes, logger, recheck, refresh, sweepEveryMs } = deps
  const all = new Set<Watched>()

  async function isRefused({ viewer }: Watched): Promise<boolean> {
    try {
      return (await recheck(viewer)).role !== viewer.role
    } catch (error) {
      if (error instanceof UnauthenticatedError) return true
      throw error
    }
  }

  async function checkNow(watched: Watched): Promise<void> {
    if ((await isRefused(watched)) && all.delete(watched)) watched.onRefused()
  }

  function check(watched: Watched): void {
    void checkNow(watched).catch((err: unknown) => {
      logger.warn({ err }, 'a live viewer could not be checked; they are again within 30 s')
    })
  }

  async function sweep(): Promise<void> {
    const present = [...all]
    await refresh(present.map(({ viewer }) => viewer))
    for (const watched of present) check(watched)
  }

  const stopListening = changes.onChange((change) => {
    for (const watched of all) if (isAbout(change, watched.viewer)) check(watched)
  })
  const timer = setInterval(() => {
    void sweep().catch((err: unknown) => logger.warn({ err }, 'live viewers could not be checked'))
  }, sweepEveryMs).unref()

  return {
    watch(viewer, onRefused) {
      const watched = { viewer, onRefused }
      all.add(watched)
      // What has changed since they were authenticated was announced before anybody watched; it is remembered, so this costs no query.
      check(watched)
      return () => void all.delete(watched)
    },
    close() {
      clearInterval(timer)
      stopListening()
      all.clear()
    },
  }
}

function isAbout(change: AccessChange, { userId, sessionId, apiKey }: Viewer): boolean {
  switch (change.kind) {
    case 'session':
      return change.id === sessionId
    case 'user':
      return change.id === userId
    case 'apiKey':
      return change.id === apiKey?.id
    case 'member':
      // A key goes with its maker's membership; a person stays who they are.
      return change.userId === userId && change.workspaceId === apiKey?.workspaceId
  }
}
