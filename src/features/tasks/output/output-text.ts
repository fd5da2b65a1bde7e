/** Makes a stream of text storable, piece by piece. */
export interface TextCleaner {
  /**
   * The text that can be stored by now: NUL and half surrogate pairs are U+FFFD (Postgres refuses them), and a high surrogate at the end
   * is held back, because the piece that follows may complete the pair. Lengths stay as they are.
   */
  push(text: string): string
  /** What is left when nothing follows. */
  end(): string
}

const unstorable = /\0|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g
const highSurrogateAtEnd = /[\uD800-\uDBFF]$/
const replacement = '\uFFFD'

export function createTextCleaner(): TextCleaner {
  let held = ''
  return {
    push(text) {
      const all = held + text
      held = highSurrogateAtEnd.exec(all)?.[0] ?? ''
      return all.slice(0, all.length - held.length).replace(unstorable, replacement)
    },
    end() {
      const rest = held === '' ? '' : replacement
      held = ''
      return rest
    },
  }
}
