import type { Announcer } from './announcer.ts'
import type { Transitions } from './transitions.ts'

/** Dependents of ended tasks that no transaction has told so. */
export interface OverdueDependents {
  /** Tells those that were too many or locked, and looks for any that were overlooked. Called with each beat of the reconciler. */
  tell(): Promise<void>
}

const tasksPerPass = 500
const maxPasses = 20

export function createOverdueDependents({
  transitions,
  announcer,
}: {
  transitions: Pick<Transitions, 'tellRest' | 'tellOverlooked'>
  announcer: Announcer
}): OverdueDependents {
  /** Blocked tasks are looked at page by page, one page for each beat. */
  let lookedAtUpTo: string | null = null

  return {
    async tell() {
      for (let pass = 0; pass < maxPasses; pass += 1) {
        const rest = await transitions.tellRest(tasksPerPass)
        await announcer.announce(rest.transitions)
        if (!rest.more) break
      }
      const overlooked = await transitions.tellOverlooked(lookedAtUpTo, tasksPerPass)
      lookedAtUpTo = overlooked.next
      await announcer.announce(overlooked.transitions)
    },
  }
}
