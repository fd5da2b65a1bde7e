import { expect, test } from 'vitest'
import { parseCancelMessage } from '../../../src/features/tasks/engine/cancel-message.ts'

test('reads what names tasks', () => {
  expect(parseCancelMessage({ taskIds: ['a', 'b'] })).toEqual({ taskIds: ['a', 'b'] })
})

test.each(['nonsense', null, { taskIds: 5 }, { taskIds: [1] }, []])(
  'takes no notice of %j, and does not throw',
  (json) => {
    expect(parseCancelMessage(json)).toBeNull()
  },
)
