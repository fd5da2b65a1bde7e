import type { AuditEvent, User } from '../../generated/prisma/client.ts'
import { toPage, type Page, type PageRequest } from '../../lib/keyset-page.ts'
import type { Database } from '../../platform/database/database.ts'

/** An audit event with who did it. `createdAt` is its `at`, under the name that pages go by. */
export type AuditEntry = AuditEvent & { actor: User | null; createdAt: Date }

/** The audit trail, for administrators. */
export interface AuditLog {
  /** Everything that was recorded, the newest first. */
  page(request: PageRequest): Promise<Page<AuditEntry>>
}

export function createAuditLog({ db }: { db: Database }): AuditLog {
  return {
    async page(request) {
      const { limit, position } = request
      const events = await db.prisma.auditEvent.findMany({
        where: position === null ? {} : before(position),
        orderBy: [{ at: 'desc' }, { id: 'desc' }],
        take: limit + 1,
        include: { actor: true },
      })
      const entries = events.map((event) => Object.assign(event, { createdAt: event.at }))
      return toPage(entries, request)
    },
  }
}

// The bound on `at` alone lets the index find the place.
function before({ createdAt, id }: { createdAt: Date; id: string }) {
  return { at: { lte: createdAt }, OR: [{ at: { lt: createdAt } }, { id: { lt: id } }] }
}
