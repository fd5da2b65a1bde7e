import { expect, test } from 'vitest'
import { createTextCleaner } from '../../../src/features/tasks/output/output-text.ts'
import { seededRandom } from './streams-factory.ts'

/** What comes out of a stream of pieces, and at its end. */
function clean(...pieces: string[]): string[] {
  const cleaner = createTextCleaner()
  return [...pieces.map((piece) => cleaner.push(piece)), cleaner.end()]
}

test.each<[string, string[], string[]]>([
  ['leaves text alone', ['héllo ', 'wörld 😀'], ['héllo ', 'wörld 😀', '']],
  ['replaces NUL', ['a\0b\0'], ['a\uFFFDb\uFFFD', '']],
  ['replaces halves of pairs', ['a\uDE00b\uD83Dc'], ['a\uFFFDb\uFFFDc', '']],
  ['replaces pairs in the wrong order', ['\uDE00\uD83D.'], ['\uFFFD\uFFFD.', '']],
  ['holds a half at the end back for the next piece', ['a\uD83D', '\uDE00b'], ['a', '😀b', '']],
  ['holds it over an empty piece', ['\uD83D', '', '\uDE00'], ['', '', '😀', '']],
  ['replaces a half that is never completed', ['\uD83D', 'a', '\uD83D'], ['', '\uFFFDa', '', '\uFFFD']],
  ['holds only the last of two halves', ['\uD83D\uD83D', '\uDE00'], ['\uFFFD', '😀', '']],
])('%s', (_what, pieces, cleaned) => {
  expect(clean(...pieces)).toEqual(cleaned)
})

test('makes any text storable, whatever the pieces, and keeps its length', () => {
  const random = seededRandom(1)
  const alphabet = ['a', '\0', '\uD83D', '\uDE00', 'é', '\uFFFF']
  for (let round = 0; round < 500; round += 1) {
    const text = Array.from({ length: 20 }, () => alphabet[Math.floor(random() * alphabet.length)] ?? '').join('')
    const cut = Math.floor(random() * 20)
    const cleaned = clean(text.slice(0, cut), text.slice(cut)).join('')

    expect(cleaned).toHaveLength(text.length)
    expect(cleaned).toBe(clean(text).join(''))
    expect(cleaned).not.toMatch(/\0|\p{Surrogate}/u)
  }
})
