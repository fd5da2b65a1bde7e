import { Agent, request } from 'node:http'

/** The public API of one process, over connections that are kept open. */
export interface ApiClient {
  /** One operation by POST; throws when it has errors. `Data` is what the caller asked for. */
  send<Data>(operation: { query: string; variables: object; token?: string }): Promise<Data>
  close(): void
}

export function createApiClient(url: string, maxConnections: number): ApiClient {
  const agent = new Agent({ keepAlive: true, maxSockets: maxConnections })

  function post(body: string, token: string | undefined): Promise<string> {
    return new Promise((resolve, reject) => {
      const headers = {
        'content-type': 'application/json',
        accept: 'application/json',
        'content-length': Buffer.byteLength(body),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      }
      const sent = request(`${url}/graphql`, { method: 'POST', agent, headers }, (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('end', () => resolve(Buffer.concat(parts).toString()))
        response.on('error', reject)
      })
      sent.on('error', reject)
      sent.end(body)
    })
  }

  return {
    async send<Data>({ query, variables, token }: { query: string; variables: object; token?: string }) {
      const body = JSON.stringify({ query, variables })
      const text = await post(body, token).catch((error: unknown) => {
        // The server may have closed a connection that was idle for long just as it was taken.
        if (error instanceof Error && 'code' in error && error.code === 'ECONNRESET') return post(body, token)
        throw error
      })
      const answer: { data: Data; errors?: unknown } = JSON.parse(text)
      if (answer.errors !== undefined) throw new Error(`the operation failed: ${text}`)
      return answer.data
    },
    close: () => agent.destroy(),
  }
}
