/**
 * The little of PostgreSQL's frontend/backend protocol 3.0 that is needed to share one session between connections.
 * (PostgreSQL documentation, "Frontend/Backend Protocol", chapter "Message Formats")
 */

/** A message of a client; `type` is null for the ones before the connection is set up, which have no type byte. */
export type ClientMessage = { type: string | null; bytes: Buffer }

/** Splits what a client sends into whole messages. Throws on a message that is longer than `maxBytes`. */
export function createMessageSplitter(maxBytes: number): (chunk: Buffer) => ClientMessage[] {
  let rest: Buffer = Buffer.alloc(0)
  let typed = false
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const messages: ClientMessage[] = []
    for (;;) {
      const headerBytes = typed ? 5 : 4
      if (rest.length < headerBytes) return messages
      // The length counts itself, and not the type byte before it.
      const length = rest.readUInt32BE(headerBytes - 4) + (typed ? 1 : 0)
      if (length < headerBytes || length > maxBytes) throw new Error(`a message of ${length} bytes is not acceptable`)
      if (rest.length < length) return messages
      const bytes = rest.subarray(0, length)
      rest = rest.subarray(length)
      messages.push({ type: typed ? String.fromCharCode(bytes.readUInt8(0)) : null, bytes })
      if (!typed && startupCodeOf(bytes) === protocolVersion3) typed = true
    }
  }
}

export const protocolVersion3 = 196_608
const sslRequest = 80_877_103
const gssRequest = 80_877_104

const startupCodeOf = (bytes: Buffer): number => (bytes.length >= 8 ? bytes.readUInt32BE(4) : 0)

/** What the client wants before there is a session. Cancelling counts as `unknown`: this Postgres cannot. */
export function readStartup(bytes: Buffer): 'startup' | 'encryption' | 'unknown' {
  const code = startupCodeOf(bytes)
  if (code === protocolVersion3) return 'startup'
  return code === sslRequest || code === gssRequest ? 'encryption' : 'unknown'
}

/** The name of the prepared statement that the message is about, or null when it is about none or the unnamed one. */
export function statementNameOf({ type, bytes }: ClientMessage): string | null {
  const start = statementNameStart(type, bytes)
  if (start === null) return null
  const name = bytes.toString('utf8', start, bytes.indexOf(0, start))
  return name === '' ? null : name
}

/** The same message about a statement of another name. */
export function renameStatement(message: ClientMessage, name: string): ClientMessage {
  const start = statementNameStart(message.type, message.bytes)
  if (start === null) return message
  const renamed = Buffer.concat([
    message.bytes.subarray(0, start),
    Buffer.from(name),
    message.bytes.subarray(message.bytes.indexOf(0, start)),
  ])
  renamed.writeUInt32BE(renamed.length - 1, 1)
  return { type: message.type, bytes: renamed }
}

function statementNameStart(type: string | null, bytes: Buffer): number | null {
  if (type === 'P') return 5
  // After the name of the portal.
  if (type === 'B') return bytes.indexOf(0, 5) + 1
  const namesStatement = (type === 'C' || type === 'D') && bytes.toString('latin1', 5, 6) === 'S'
  return namesStatement ? 6 : null
}

/** True for a query that reads the data of a COPY from the client. */
export function isCopyFromClient({ type, bytes }: ClientMessage): boolean {
  if (type !== 'Q' && type !== 'P') return false
  const start = type === 'Q' ? 5 : bytes.indexOf(0, 5) + 1
  return /^\s*copy\b[^]*\bfrom\s+stdin\b/i.test(bytes.toString('utf8', start, start + 10_000))
}

/** A simple query. */
export const queryMessage = (sql: string): Buffer => messageOf('Q', Buffer.from(`${sql}\0`))

/** Forgets a prepared statement; one that does not exist is no error. */
export const closeStatementMessage = (name: string): Buffer => messageOf('C', Buffer.from(`S${name}\0`))

export const syncMessage = (): Buffer => messageOf('S', Buffer.alloc(0))

/** What PGlite needs to greet; it does not look at the user or the database. */
export function startupMessage(): Buffer {
  const body = Buffer.from('user\0postgres\0database\0postgres\0\0')
  const head = Buffer.alloc(8)
  head.writeUInt32BE(8 + body.length, 0)
  head.writeUInt32BE(protocolVersion3, 4)
  return Buffer.concat([head, body])
}

/** True when an answer ends with ReadyForQuery inside a transaction (open or failed). */
export const leavesTransactionOpen = (answer: Buffer): boolean =>
  answer.length >= 6 && answer.readUInt8(answer.length - 6) === 0x5a && answer.readUInt8(answer.length - 1) !== 0x49

function messageOf(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(type, 'latin1')
  head.writeUInt32BE(4 + body.length, 1)
  return Buffer.concat([head, body])
}
