import { z } from 'zod'

export type Range = { readonly min: number; readonly max: number }

/** A whole number in the range, its ends included. */
export function integerIn({ min, max }: Range) {
  const message = `must be a whole number from ${min} to ${max}`
  return z.number(message).int(message).min(min, message).max(max, message)
}

/** A number in the range, its ends included. */
export function numberIn({ min, max }: Range) {
  const message = `must be a number from ${min} to ${max}`
  return z.number(message).min(min, message).max(max, message)
}

/** `schema`, or `value` when nothing or null was given. */
export function withDefault<Output>(schema: z.ZodType<Output>, value: NoInfer<Output>) {
  return schema.nullish().transform((given) => given ?? value)
}
