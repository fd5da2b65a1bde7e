/** What the person at the screen reads: the stream's text in paragraphs, and notes between them. */
export interface Page {
  /** More of the stream's text. */
  text(text: string): void
  note(title: string, text: string): void
  /** Time goes by, and nothing happens. */
  tick(): void
  /** Nothing is written any more. */
  close(): void
}

const indent = '      '
/** A line ends with the first space from here on. */
const wrapColumn = 66
const titleWidth = 13

export function createPage(output: (text: string) => void): Page {
  let column = 0
  let last: 'text' | 'note' | 'tick' = 'note'
  let isClosed = false

  function write(text: string): void {
    if (!isClosed) output(text)
  }

  return {
    text(text) {
      if (text === '') return
      if (last !== 'text') {
        write(`\n${indent}`)
        column = 0
        last = 'text'
      }
      for (const part of text.match(/\s|\S+/g) ?? []) {
        const isLineEnd = column >= wrapColumn && part === ' '
        write(isLineEnd ? `\n${indent}` : part)
        column = isLineEnd ? 0 : column + part.length
      }
    },
    note(title, text) {
      const line = title === '' ? text : `${title.padEnd(titleWidth)}${text}`
      write(`${last === 'note' ? '' : '\n\n'}  ${line}\n`)
      last = 'note'
    },
    tick() {
      write(last === 'tick' ? ' .' : `${last === 'text' ? '\n' : ''}\n  .`)
      last = 'tick'
    },
    close() {
      isClosed = true
    },
  }
}
