import { describe } from 'vitest'
import { createInProcessDispatch } from '../../../src/platform/dispatch/in-process.ts'
import { dispatchContract } from '../../contracts/dispatch.ts'

describe('in-process dispatch', () => {
  dispatchContract(async () => {
    const dispatch = createInProcessDispatch({ maxWaitingPerWorkspace: 3, onError: () => undefined })
    return { dispatch, [Symbol.asyncDispose]: () => dispatch.close() }
  })
})
