import type { AuditedTask } from '../audit.ts'
import type { Accepted } from './submitters.ts'
import type { UpstreamCall } from './upstream.ts'

/** Holds the rows against what was accepted and against what the model knows. Returns what must not be, a sentence each. */
export function auditAgainstUpstream(
  tasks: readonly AuditedTask[],
  accepted: readonly Accepted[],
  calls: readonly UpstreamCall[],
): string[] {
  const callsById = new Map(calls.map((call) => [call.id, call]))
  const callsByLabel = groupBy(calls, ({ label }) => label)
  const tasksByLabel = groupBy(tasks, ({ name }) => name ?? '')
  const acceptedByLabel = new Map(accepted.map((one) => [one.label, one]))
  const problems: string[] = []
  for (const label of new Set([...acceptedByLabel.keys(), ...tasksByLabel.keys()])) {
    const count = tasksByLabel.get(label)?.length ?? 0
    if (count !== (acceptedByLabel.has(label) ? 1 : 0))
      problems.push(`${label} was accepted once, and is there ${count} times`)
  }
  for (const task of tasks) {
    const facts: Facts = {
      task,
      fate: acceptedByLabel.get(task.name ?? '')?.fate ?? 'answers',
      own: callsByLabel.get(task.name ?? '') ?? [],
      callsById,
    }
    const found = [...endProblems(facts), ...outputProblems(facts), ...callProblems(facts), ...ledgerProblems(facts)]
    problems.push(...found.map((problem) => `${task.name} (${task.id}, ${task.status}): ${problem}`))
  }
  return problems
}

type Facts = {
  task: AuditedTask
  fate: Accepted['fate']
  /** The calls made for it. */
  own: readonly UpstreamCall[]
  callsById: ReadonlyMap<string, UpstreamCall>
}

function endProblems({ task, fate }: Facts): string[] {
  const last = task.attempts.at(-1)?.status
  if (task.status === 'SUCCEEDED' && fate === 'refuses') return ['it succeeded, and the model has refused it']
  if (task.status === 'FAILED' && fate !== 'refuses' && last !== 'LOST')
    return [`it failed (last attempt: ${last}), and the model has not refused it`]
  return []
}

function outputProblems({ task, own, callsById }: Facts): string[] {
  const output = task.output ?? ''
  if (task.status !== 'SUCCEEDED')
    return own.some(({ answer }) => answer.startsWith(output)) || output === ''
      ? []
      : [`its output is no part of any answer: ${JSON.stringify(output)}`]
  const winner = task.calls.find(({ attempt, outcome }) => attempt === task.attempt && outcome === 'succeeded')
  const call = callsById.get(winner?.requestId ?? '')
  if (call === undefined || call.label !== task.name)
    return ['no call of the model is the one that its last attempt names']
  const problems: string[] = []
  if (output !== call.answer)
    problems.push(
      `its output is not what ${call.id} said: ${JSON.stringify(output)} for ${JSON.stringify(call.answer)}`,
    )
  if (winner?.usage?.estimated !== false || winner.usage.outputTokens !== call.outputTokens)
    problems.push(`its usage is ${JSON.stringify(winner?.usage)}, and ${call.id} said ${call.outputTokens}`)
  return problems
}

// A worker that slept may ask for an answer that is not wanted any more; it must not wait for it.
function callProblems({ task, own }: Facts): string[] {
  const { finishedAtMs } = task
  if (finishedAtMs === null) return []
  const late = own.filter(({ receivedAtMs, request }) => receivedAtMs > finishedAtMs && !request.hungUp)
  return late.map(({ id }) => `${id} was asked for after its end, and answered`)
}

/** These take the ledger's row with them: the process is dead, or was too late and died before it could write. */
const lostWithTheirCalls = new Set(['LOST', 'CANCELLED'])

function ledgerProblems({ task, fate, own }: Facts): string[] {
  const recorded = new Set(task.calls.map(({ requestId }) => requestId))
  const missing = own.filter(({ id }) => !recorded.has(id))
  const maxCallsPerAttempt = fate === 'answers' ? 1 : 2
  const excused =
    task.attempts.filter(({ status }) => lostWithTheirCalls.has(status)).length * maxCallsPerAttempt +
    task.calls.filter(({ requestId }) => requestId === null).length
  const problems = task.calls
    .filter(({ requestId, usage, outcome }) => {
      const call = own.find(({ id }) => id === requestId)
      return usage === null && outcome !== 'server_error' && outcome !== 'bad_request' && (call?.sent() ?? '') !== ''
    })
    .map(({ requestId, outcome }) => `${requestId} (${outcome}) has no usage in the ledger`)
  if (missing.length > excused)
    problems.push(
      `${missing.length} calls are not in the ledger (${missing.map(({ id }) => id).join()}), ${excused} may be`,
    )
  return problems
}

function groupBy<Value>(values: readonly Value[], keyOf: (value: Value) => string): Map<string, Value[]> {
  const groups = new Map<string, Value[]>()
  for (const value of values) {
    const group = groups.get(keyOf(value))
    if (group === undefined) groups.set(keyOf(value), [value])
    else group.push(value)
  }
  return groups
}
