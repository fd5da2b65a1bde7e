import { v7, validate } from 'uuid'

/** Makes the ids of rows: UUIDv7 (RFC 9562), so that they sort by the time they were made. */
export type NewId = () => string

const bytesPerId = 16
// Drawing random bytes takes about 15 µs however few they are, and was nearly all of what an id took.
const randomBytes = new Uint8Array(bytesPerId * 256)
let drawn = randomBytes.length

function nextRandom(): Uint8Array {
  if (drawn === randomBytes.length) {
    crypto.getRandomValues(randomBytes)
    drawn = 0
  }
  drawn += bytesPerId
  return randomBytes.subarray(drawn - bytesPerId, drawn)
}

/**
 * Those of one NewId rise, also within a millisecond and when the clock goes back: 32 bits behind the time count on from a random start (RFC
 * 9562, section 6.2, method 1).
 */
export function createNewId(): NewId {
  let lastMs = 0
  let sequence = 0
  return () => {
    const random = nextRandom()
    const nowMs = Date.now()
    if (nowMs > lastMs) {
      lastMs = nowMs
      // The first bit is left for counting.
      sequence = new DataView(random.buffer, random.byteOffset).getUint32(0) >>> 1
    } else {
      sequence = (sequence + 1) >>> 0
      if (sequence === 0) lastMs += 1
    }
    return v7({ random, msecs: lastMs, seq: sequence })
  }
}

/** Of the whole process, so that all its ids rise together. */
export const newId = createNewId()

/** True for any UUID in its text form; what is not one must never reach a `uuid` column. */
export function isUuid(value: string): boolean {
  return validate(value)
}
