import { describe, expect, test } from 'vitest'
import { findClusterPrograms, startCluster, type Member } from '../support/cluster.ts'
import { startModelServer, type ModelServer } from '../support/model-server.ts'
import { answerText, slowAnswer } from '../support/slow-answers.ts'

const programs = findClusterPrograms()

const completion = `subscription ($input: CompletionInput!, $after: String) {
  completion(input: $input, after: $after) {
    __typename
    ... on CompletionDelta { cursor offset text }
    ... on CompletionFinished { completion { id text } }
    ... on CompletionFailed { code message }
  }
}`

type Event = {
  __typename: string
  cursor?: string
  offset?: number
  text?: string
  completion?: { id: string; text: string }
}

/** Somebody who listens to one completion, over several connections, and holds what comes to be without gap and duplicate. */
function createListener(input: Record<string, unknown>) {
  let cursor: string | null = null
  let text = ''
  let resets = 0
  let end: Event | null = null

  function take(event: Event): void {
    switch (event.__typename) {
      case 'CompletionReset':
        text = ''
        resets += 1
        break
      case 'CompletionDelta':
        expect(event.offset).toBe(text.length)
        text += event.text ?? ''
        cursor = event.cursor ?? null
        break
      case 'CompletionFinished':
      case 'CompletionFailed':
        end = event
        break
    }
  }

  return {
    facts: () => ({ text, resets, end }),
    /** Until the end, or until `isEnough`; a connection that breaks ends it, too. */
    async listen({ client }: Member, token: string, isEnough: (text: string) => boolean = () => false): Promise<void> {
      try {
        for await (const { data, errors } of client.subscribe<{ completion: Event }>(
          completion,
          { input, after: cursor },
          { token },
        )) {
          if (errors !== undefined) return
          if (data === undefined || data === null) continue
          take(data.completion)
          if (isEnough(text)) return
        }
      } catch (error) {
        // The connection broke: whoever listens comes back.
        if (!(error instanceof Error)) throw error
      }
    },
  }
}

function answerEach(models: ModelServer, gapMs: number): void {
  models.replyAlways(() => slowAnswer(`answer-${models.requests.length}`, gapMs))
}

async function start(models: ModelServer) {
  if (programs === null) throw new Error('there are no servers to be had')
  const providers = [{ name: 'fake', baseUrl: models.baseUrl, apiKey: 'none' }]
  const env = { AI_PROVIDERS: JSON.stringify(providers), AI_DEFAULT_MODELS: 'fake/a' }
  const cluster = await startCluster(programs, { apis: 2, workers: 0, env })
  const [first, second] = cluster.apis
  if (first === undefined || second === undefined) throw new Error('two APIs were asked for')
  const { signUp } = await first.client.data<{ signUp: { accessToken: string } }>(
    'mutation ($input: SignUpInput!) { signUp(input: $input) { accessToken } }',
    { input: { email: 'somebody@example.com', password: 'a rather long pass phrase 42' } },
  )
  return {
    redis: cluster.redis,
    first,
    second,
    token: signUp.accessToken,
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  }
}

describe.skipIf(programs === null)('a completion with a key', () => {
  test('begins again on another process when its own is killed, and nobody hears a mixture', async () => {
    await using models = await startModelServer()
    await using started = await start(models)
    const { first, second, token } = started
    answerEach(models, 80)
    const input = { prompt: 'Hello?', key: 'killed' }
    const [lost, watching] = [createListener(input), createListener(input)]
    await lost.listen(first, token, (text) => text.length > 60)
    const watched = watching.listen(second, token)

    await first.kill('SIGKILL')
    await lost.listen(second, token)
    await watched

    for (const listener of [lost, watching]) {
      const { text, resets, end } = listener.facts()
      expect(text).toBe(answerText('answer-2'))
      expect(resets).toBe(1)
      expect(end).toMatchObject({ __typename: 'CompletionFinished', completion: { text } })
    }
    expect(models.requests).toHaveLength(2)
  })

  test('is told whole, once and by one call, over lost connections and a Redis that restarts', async () => {
    await using models = await startModelServer()
    await using started = await start(models)
    const { first, second, token } = started
    answerEach(models, 80)
    const listener = createListener({ prompt: 'Hello?', key: 'kept' })

    await listener.listen(first, token, (text) => text.length > 60)
    await listener.listen(second, token, (text) => text.length > 200)
    await started.redis.restart()
    await listener.listen(first, token, (text) => text.length > 300)
    await listener.listen(second, token)

    const { text, resets, end } = listener.facts()
    expect([text, resets]).toEqual([answerText('answer-1'), 0])
    expect(end).toMatchObject({ __typename: 'CompletionFinished', completion: { text } })
    expect(models.requests).toHaveLength(1)
  })
})
