import { describe } from 'vitest'
import { createInProcessThrottles } from '../../../src/platform/throttle/in-process.ts'
import { throttlesContract } from '../../contracts/throttles.ts'

describe('limits in process', () => {
  throttlesContract(async () => {
    const limits = createInProcessThrottles()
    return { one: limits, other: limits, [Symbol.asyncDispose]: () => limits.close() }
  })
})
