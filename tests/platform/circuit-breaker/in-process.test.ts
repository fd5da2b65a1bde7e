import { systemClock } from '../../../src/lib/clock.ts'
import { newId } from '../../../src/lib/ids.ts'
import { createInProcessCircuitBreakers } from '../../../src/platform/circuit-breaker/in-process.ts'
import { circuitBreakersContract } from '../../contracts/circuit-breaker.ts'

circuitBreakersContract(async (rules) => {
  const breakers = createInProcessCircuitBreakers({ clock: systemClock, newId, rules })
  return { one: breakers, other: breakers, [Symbol.asyncDispose]: () => breakers.close() }
})
