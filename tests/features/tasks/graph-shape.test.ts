import { describe, expect, test } from 'vitest'
import { assertGraphShape, type GraphNode } from '../../../src/features/tasks/graph-shape.ts'
import { BadUserInputError } from '../../../src/lib/errors.ts'

describe('the shape of a graph', () => {
  test('is fine without a cycle, in whatever order it is given', () => {
    expect(() => assertGraphShape(nodes({ d: 'bc', b: 'a', c: 'a', a: '' }))).not.toThrow()
  })

  test.each([
    ['a task that depends on itself', nodes({ a: '', b: 'b' }), ['b', 'b']],
    ['two tasks that depend on each other', nodes({ a: 'b', b: 'a' }), ['a', 'b', 'a']],
    [
      'a longer way round, and nothing that merely leads there',
      nodes({ x: 'a', a: 'b', b: 'c', c: 'a' }),
      ['a', 'b', 'c', 'a'],
    ],
    ['a way round behind tasks that can run', nodes({ r: '', a: 'rb', b: 'a' }), ['a', 'b', 'a']],
  ])('refuses %s, with its path', (_what, graph, cycle) => {
    expect(refusal(graph)).toMatchObject({ code: 'BAD_USER_INPUT', details: { field: 'input.tasks', cycle } })
  })

  test('tells the path in the message, and shortens a long one there only', () => {
    expect(refusal(nodes({ a: 'b', b: 'a' })).message).toBe(
      'input.tasks: The tasks depend on each other in a circle: "a" → "b" → "a".',
    )
    const ring = Array.from({ length: 1_000 }, (_, n) => ({ key: `t${n}`, dependsOn: [`t${(n + 1) % 1_000}`] }))
    const { message, details } = refusal(ring)
    expect(message).toMatch(/"t0" → "t1" → .* → "t9" → … 990 more … → "t0"\.$/)
    expect(details['cycle']).toHaveLength(1_001)
  })

  test('names each key that is unknown or used twice', () => {
    const { details } = refusal([
      { key: 'a', dependsOn: ['b', 'nobody'] },
      { key: 'b' },
      { key: 'a', dependsOn: ['someone'] },
    ])
    expect(details).toEqual({
      field: 'input.tasks.2.key',
      problems: [
        { field: 'input.tasks.2.key', message: 'The key "a" is used twice.' },
        { field: 'input.tasks.0.dependsOn.1', message: 'There is no task with the key "nobody" in this graph.' },
        { field: 'input.tasks.2.dependsOn.0', message: 'There is no task with the key "someone" in this graph.' },
      ],
    })
  })
})

/** Nodes by their keys, one letter each. */
function nodes(dependencies: Record<string, string>): GraphNode[] {
  return Object.entries(dependencies).map(([key, letters]) => ({ key, dependsOn: [...letters] }))
}

function refusal(graph: readonly GraphNode[]): BadUserInputError {
  try {
    assertGraphShape(graph)
  } catch (error) {
    if (error instanceof BadUserInputError) return error
    throw error
  }
  throw new Error('the graph was accepted')
}
