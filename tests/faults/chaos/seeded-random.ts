/** Numbers that look random and are the same for the same seed. */
export interface SeededRandom {
  /** In [0, 1). */
  next(): number
  /** A whole number from `min` to `max`, both included. */
  between(min: number, max: number): number
  chance(probability: number): boolean
  pick<Value>(values: readonly [Value, ...Value[]]): Value
  /** Another sequence, which depends only on the seed and the name: what others draw meanwhile does not change it. */
  branch(name: string): SeededRandom
}

/** Mulberry32 (Tommy Ettinger, 2017): 32 bits of state, enough for choices. */
export function createSeededRandom(seed: number): SeededRandom {
  let state = seed >>> 0
  const random: SeededRandom = {
    next() {
      state = (state + 0x6d2b79f5) >>> 0
      let mixed = Math.imul(state ^ (state >>> 15), state | 1)
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
    },
    between: (min, max) => min + Math.floor(random.next() * (max - min + 1)),
    chance: (probability) => random.next() < probability,
    pick: (values) => values[random.between(0, values.length - 1)] ?? values[0],
    branch: (name) => createSeededRandom(hash(`${seed}:${name}`)),
  }
  return random
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (const character of text) value = Math.imul(value ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0
  return value
}
