import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { answer, chunk, finish, hold, startModelServer, stream, text, usage, wait } from '../support/model-server.ts'
import type { ModelServer, Reply } from '../support/model-server.ts'
import { startServerProcess, type ServerProcess } from '../support/server-process.ts'
import { until } from '../support/until.ts'
import { findChromium, openPage } from './chromium.ts'
import { openGraphiQL } from './graphiql-page.ts'

const program = findChromium()

describe.skipIf(program === null)('GraphiQL in a browser', () => {
  test('its examples lead from an account to a finished task, and it reaches nothing but its server', async () => {
    await using models = await startModelServer()
    await using server = await startServer(models)
    await using browser = await openPage(program ?? '')
    const gate = createGate()
    models.reply(slowPieces(gate.opened), answer('Hello, ', 'salut, ', 'hallo.'))

    await browser.during(async () => {
      const graphiql = await openGraphiQL(browser.page, `${server.url}/graphql`)
      await graphiql.execute()
      const { data: account } = await graphiql.copyResult<SignUpAnswer>('accessToken')
      expect(account.signUp.user).toMatchObject({ email: 'you@example.org', role: 'ADMIN' })
      const token = account.signUp.accessToken
      const openWithToken = async (operation: string): Promise<void> => {
        await graphiql.openTab(operation)
        await graphiql.paste('Headers', 'PASTE_THE_ACCESS_TOKEN_HERE', token)
      }

      await openWithToken('Viewer')
      await graphiql.execute()
      const { data: viewer } = await graphiql.copyResult<{ data: { viewer: unknown } }>('memberships')
      expect(viewer.viewer).toMatchObject({
        user: { email: 'you@example.org' },
        memberships: [{ role: 'OWNER', workspace: { personal: true } }],
      })

      await openWithToken('CreateAgent')
      await graphiql.execute()
      const { data: agent } = await graphiql.copyResult<CreateAgentAnswer>('createAgent')
      expect(agent.createAgent.agent).toMatchObject({ name: 'Haiku writer', status: 'ACTIVE' })

      await openWithToken('CreateTask')
      await graphiql.paste('Operation Editor', 'PASTE_THE_AGENT_ID_HERE', agent.createAgent.agent.id)
      await graphiql.execute()
      const { data: task } = await graphiql.copyResult<CreateTaskAnswer>('createTask')

      await until(
        'the model is asked',
        async () => models.requests.length,
        (count) => count === 1,
      )
      await openWithToken('TaskStream')
      await graphiql.paste('Operation Editor', 'PASTE_THE_TASK_ID_HERE', task.createTask.task.id)
      await graphiql.execute()
      await graphiql.watchResults('__typename', 'CaughtUp')
      gate.open()
      const watched = await graphiql.watchResults('text', '"SUCCEEDED"')
      expect(watched.length).toBeGreaterThan(3)
      expect(pieces).toEqual(expect.arrayContaining([...watched]))

      await openWithToken('WorkspaceFeed')
      await graphiql.execute()
      await graphiql.watchResults('__typename', 'CaughtUp')
      await graphiql.stop()

      await openWithToken('Completion')
      await graphiql.execute()
      const { data: completion } = await graphiql.copyResult<{ data: { completion: unknown } }>('CompletionFinished')
      expect(completion.completion).toMatchObject({ completion: { text: 'Hello, salut, hallo.' } })
    })

    expect(browser.requested.filter((url) => !isOf(server, url))).toEqual([])
    expect(browser.complaints).toEqual([])
  })
})

type SignUpAnswer = { data: { signUp: { accessToken: string; user: unknown } } }
type CreateAgentAnswer = { data: { createAgent: { agent: { id: string } } } }
type CreateTaskAnswer = { data: { createTask: { task: { id: string } } } }

/** What the model says about the sea, one by one. */
const pieces = Array.from({ length: 40 }, (_, index) => `wave-${index} `)

/** Slow enough to be seen. */
function slowPieces(begin: Promise<unknown>): Reply {
  const spoken = pieces.flatMap((piece) => [text(piece), wait(60)])
  return stream(chunk({ role: 'assistant', content: '' }), hold(begin), ...spoken, finish(), usage(9, pieces.length))
}

function createGate(): { opened: Promise<void>; open(): void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { opened, open: () => open() }
}

async function startServer(models: ModelServer): Promise<ServerProcess> {
  const dataDirectory = await mkdtemp(join(tmpdir(), 'monk-browser-'))
  const remove = (): Promise<void> => rm(dataDirectory, { recursive: true, force: true })
  const server = await startServerProcess({
    NODE_ENV: 'development',
    MONK_DATA_DIR: dataDirectory,
    OPENAI_API_KEY: 'none',
    OPENAI_BASE_URL: models.baseUrl,
    AI_DEFAULT_MODELS: 'openai/test-model',
    // A person takes time to copy and paste, and so does a browser.
    AI_FIRST_TOKEN_TIMEOUT_MS: '60000',
    AI_IDLE_TIMEOUT_MS: '60000',
  }).catch(async (error: unknown) => {
    await remove()
    throw error
  })
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await remove()
    },
  }
}

function isOf({ url: serverUrl }: ServerProcess, url: string): boolean {
  return url.startsWith(`${serverUrl}/`) || url.startsWith(`blob:${serverUrl}/`) || url.startsWith('data:')
}
