import type { ZxcvbnFactory } from '@zxcvbn-ts/core'

/** How hard a password is to guess: 0 (at once) to 4 (very hard), and what would make it better. */
type Strength = { score: number; warning: string | null; suggestions: readonly string[] }

/** Estimates strength as in D. Wheeler, "zxcvbn: Low-Budget Password Strength Estimation" (USENIX Security 2016). */
export interface PasswordStrength {
  /** `known` are words that an attacker would try first, such as the e-mail. */
  estimate(password: string, known: readonly string[]): Promise<Strength>
}

// The estimate runs on the event loop. Unbounded, 128 well chosen characters stop it for 1 500 ms; with these bounds 60 ms.
// A password is at least as strong as any part of it, so a strong part is enough.
const windowLength = 48
const l33tMaxSubstitutions = 10

export function createPasswordStrength(): PasswordStrength {
  return {
    async estimate(password, known) {
      const estimator = await loadOnce()
      const check = (part: string): Strength => {
        const { score, feedback } = estimator.check(part, [...known])
        return { score, warning: feedback.warning, suggestions: feedback.suggestions }
      }
      const head = check(password.slice(0, windowLength))
      if (password.length <= windowLength) return head
      const tail = check(password.slice(-windowLength))
      return tail.score > head.score ? tail : head
    },
  }
}

// Constants, which all estimates of a process share: 120 MB, and 0.4 s to load. With the first estimate, and again after a failed load.
let loading: Promise<ZxcvbnFactory> | undefined

function loadOnce(): Promise<ZxcvbnFactory> {
  loading ??= loadEstimator().catch((error: unknown) => {
    loading = undefined
    throw error
  })
  return loading
}

async function loadEstimator(): Promise<ZxcvbnFactory> {
  const [core, common, english] = await Promise.all([
    import('@zxcvbn-ts/core'),
    import('@zxcvbn-ts/language-common'),
    import('@zxcvbn-ts/language-en'),
  ])
  return new core.ZxcvbnFactory({
    dictionary: { ...common.dictionary, ...english.dictionary },
    graphs: common.adjacencyGraphs,
    translations: english.translations,
    l33tMaxSubstitutions,
  })
}
