import { BadUserInputError } from '../../lib/errors.ts'
import { inputError, type InputProblem } from '../../lib/parse-input.ts'

/** What of a task decides the shape of its graph. */
export type GraphNode = { key: string; dependsOn?: readonly string[] | null | undefined }

/** More keys than that are not written out in a message. */
const maxKeysInMessage = 12

/**
 * Checks that keys are unique, that dependencies name keys of the graph, and that there is no cycle. Throws BadUserInputError: for keys
 * it names each field, for a cycle `details.cycle` is its path, which ends with the key that it began with.
 */
export function assertGraphShape(nodes: readonly GraphNode[], root = 'input.tasks'): void {
  const [problem, ...more] = keyProblems(nodes, root)
  if (problem !== undefined) throw inputError([problem, ...more])
  const cycle = findCycle(nodes)
  if (cycle === null) return
  throw new BadUserInputError(root, `${root}: The tasks depend on each other in a circle: ${describe(cycle)}.`, {
    details: { cycle },
    suggestions: ['Take one of these dependencies out.'],
  })
}

function* keyProblems(nodes: readonly GraphNode[], root: string): Generator<InputProblem> {
  const keys = new Set<string>()
  for (const [index, { key }] of nodes.entries()) {
    if (keys.has(key)) yield { field: `${root}.${index}.key`, message: `The key "${key}" is used twice.` }
    keys.add(key)
  }
  for (const [index, { dependsOn }] of nodes.entries()) {
    for (const [position, name] of (dependsOn ?? []).entries()) {
      const field = `${root}.${index}.dependsOn.${position}`
      if (!keys.has(name)) yield { field, message: `There is no task with the key "${name}" in this graph.` }
    }
  }
}

/**
 * Takes away the tasks that wait for nothing, again and again (Kahn, 1962). Whatever is left waits for something that is left: followed
 * from anywhere, that leads into a cycle.
 */
function findCycle(nodes: readonly GraphNode[]): string[] | null {
  const left = new Map(nodes.map(({ key, dependsOn }) => [key, new Set(dependsOn)]))
  const dependents = new Map<string, string[]>(nodes.map(({ key }) => [key, []]))
  for (const { key, dependsOn } of nodes) for (const name of dependsOn ?? []) dependents.get(name)?.push(key)
  const free = nodes.filter(({ key }) => left.get(key)?.size === 0).map(({ key }) => key)
  for (let key = free.pop(); key !== undefined; key = free.pop()) {
    left.delete(key)
    for (const dependent of dependents.get(key) ?? []) {
      const waitsFor = left.get(dependent)
      waitsFor?.delete(key)
      if (waitsFor?.size === 0) free.push(dependent)
    }
  }
  const path: string[] = []
  const seen = new Set<string>()
  for (let [key] = left.keys(); key !== undefined; [key] = left.get(key) ?? []) {
    path.push(key)
    if (seen.has(key)) return path.slice(path.indexOf(key))
    seen.add(key)
  }
  return null
}

function describe(cycle: readonly string[]): string {
  const [first] = cycle
  const quoted = cycle.map((key) => `"${key}"`)
  if (quoted.length <= maxKeysInMessage) return quoted.join(' → ')
  return `${quoted.slice(0, maxKeysInMessage - 2).join(' → ')} → … ${cycle.length - maxKeysInMessage + 1} more … → "${first}"`
}
