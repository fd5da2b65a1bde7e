import { chunk, finish, text, usage, wait, type Act, type Reply } from './model-server.ts'

const words = 60

/** What the model says when it is asked for the n-th time; each answer can be told from every other. */
export const answerText = (label: string): string =>
  Array.from({ length: words }, (_, index) => `${label}-${index} `).join('')

/** The same, streamed word by word. */
export function slowAnswer(label: string, gapMs: number): Reply {
  const acts = Array.from({ length: words }, (_, index): Act[] => [wait(gapMs), text(`${label}-${index} `)])
  return {
    kind: 'stream',
    acts: [chunk({ role: 'assistant', content: '' }), ...acts.flat(), finish(), usage(5, words)],
  }
}

/** Says this at once, then a number every `gapMs` for as long as anybody listens, five minutes at most. */
export function endlessAnswer(beginning: string, gapMs: number): Reply {
  const numbers = Array.from({ length: 300_000 / gapMs }, (_, index): Act[] => [wait(gapMs), text(` ${index}`)])
  return {
    kind: 'stream',
    acts: [chunk({ role: 'assistant', content: '' }), text(beginning), ...numbers.flat(), finish()],
  }
}
