import { chunk, finish, httpError, text, usage, wait, cut, startModelServer } from '../../support/model-server.ts'
import type { Act, ModelServer, Reply, SeenRequest } from '../../support/model-server.ts'
import type { SeededRandom } from './seeded-random.ts'

/**
 * What the model does when it is asked for a task, said in the task's prompt: it answers; it answers at the second time of asking, after an
 * error or after half an answer; it refuses for ever.
 */
export type Fate = 'answers' | 'is-busy-once' | 'breaks-off-once' | 'refuses'

/** A call that has reached the model. */
export type UpstreamCall = {
  /** Also what the server says as the id of the request: it is in the ledger. */
  readonly id: string
  /** Of the task that it was made for. */
  readonly label: string
  readonly receivedAtMs: number
  /** All that it says when it is not stopped: no other call says the same. */
  readonly answer: string
  /** What it says that the answer cost. */
  readonly outputTokens: number
  /** What it had handed to the socket by now. */
  sent(): string
  readonly request: SeenRequest
}

/** A slow streaming model that knows what it has said to whom. */
export interface Upstream extends AsyncDisposable {
  readonly baseUrl: string
  readonly calls: readonly UpstreamCall[]
}

const wordsPerAnswer = { min: 8, max: 30 }
const wordGapMs = { min: 20, max: 150 }

export const promptOf = (label: string, fate: Fate): string => `Task ${label}: the model ${fate}.`

export async function startUpstream(random: SeededRandom): Promise<Upstream> {
  const models: ModelServer = await startModelServer()
  const calls: UpstreamCall[] = []
  const callsByLabel = new Map<string, number>()

  models.replyAlways((request) => {
    const { label, fate } = taskOf(request)
    const earlier = callsByLabel.get(label) ?? 0
    callsByLabel.set(label, earlier + 1)
    const id = `call-${calls.length + 1}`
    const draw = random.branch(`${label}/${earlier}`)
    const words = Array.from(
      { length: draw.between(wordsPerAnswer.min, wordsPerAnswer.max) },
      (_, index) => `${id}.${index}${index % 7 === 3 ? ' 🐙' : ''} `,
    )
    const call: UpstreamCall = {
      id,
      label,
      receivedAtMs: Date.now(),
      answer: words.join(''),
      outputTokens: words.length,
      // The first write says who speaks.
      sent: () => words.slice(0, Math.max(0, request.wroteAtMs.length - 1)).join(''),
      request,
    }
    calls.push(call)
    return replyOf(call, { fate, isFirst: earlier === 0, words, gapMs: draw.between(wordGapMs.min, wordGapMs.max) })
  })

  return { baseUrl: models.baseUrl, calls, [Symbol.asyncDispose]: () => models.close() }
}

type Script = { fate: Fate; isFirst: boolean; words: readonly string[]; gapMs: number }

function replyOf({ id }: UpstreamCall, { fate, isFirst, words, gapMs }: Script): Reply {
  const headers = { 'x-request-id': id }
  if (fate === 'refuses') return httpError(400, { message: 'I will not.', code: 'invalid_request' }, headers)
  if (fate === 'is-busy-once' && isFirst) return httpError(503, { message: 'Later.' }, headers)
  const said = words.flatMap((word): Act[] => [wait(gapMs), text(word)])
  const begun = chunk({ role: 'assistant', content: '' })
  if (fate === 'breaks-off-once' && isFirst)
    return { kind: 'stream', headers, acts: [begun, ...said.slice(0, said.length / 2), cut] }
  return { kind: 'stream', headers, acts: [begun, ...said, finish(), usage(20, words.length)] }
}

function taskOf({ body }: SeenRequest): { label: string; fate: Fate } {
  const found = /Task (\S+): the model (answers|is-busy-once|breaks-off-once|refuses)\./.exec(
    JSON.stringify(body['messages']),
  )
  const [, label, fate] = found ?? []
  if (label === undefined || !isFate(fate)) throw new Error('the model was asked for something else')
  return { label, fate }
}

function isFate(fate: string | undefined): fate is Fate {
  return fate === 'answers' || fate === 'is-busy-once' || fate === 'breaks-off-once' || fate === 'refuses'
}
