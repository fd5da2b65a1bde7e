export type Example = { query: string; variables?: string; headers?: string }

const signedIn = JSON.stringify({ Authorization: 'Bearer PASTE_THE_ACCESS_TOKEN_HERE' }, null, 2)

/** The tabs that GraphiQL opens with, in the order in which one would try them. */
export const examples: readonly Example[] = [
  {
    query: `# Welcome to Monk-AI. Run the tabs from left to right.
# 1. An account. Copy the access token into the "Headers" of the other tabs; it is valid for ten minutes (logIn gives another).
mutation SignUp($input: SignUpInput!) {
  signUp(input: $input) {
    accessToken
    accessTokenExpiresAt
    user { id email role }
  }
}
`,
    variables: JSON.stringify({ input: { email: 'you@example.org', password: 'quiet-harbour-lamp-42' } }, null, 2),
  },
  {
    query: `# 2. Who am I, and which workspaces are mine?
query Viewer {
  viewer {
    user { id email role createdAt }
    memberships { role workspace { id name personal } }
  }
}
`,
    headers: signedIn,
  },
  {
    query: `# 3. An agent: instructions and limits. Without "models" it uses the server's default.
mutation CreateAgent($input: CreateAgentInput!) {
  createAgent(input: $input) {
    agent { id name models concurrency timeoutMs status }
  }
}
`,
    variables: JSON.stringify(
      { input: { name: 'Haiku writer', instructions: 'You answer every question with one haiku.', concurrency: 2 } },
      null,
      2,
    ),
    headers: signedIn,
  },
  {
    query: `# 4. A task for the agent.
mutation CreateTask($input: CreateTaskInput!) {
  createTask(input: $input) {
    task { id status statusReason priority createdAt }
  }
}
`,
    variables: JSON.stringify(
      { input: { agentId: 'PASTE_THE_AGENT_ID_HERE', prompt: 'What is the sea like in November?' } },
      null,
      2,
    ),
    headers: signedIn,
  },
  {
    query: `# 5. Watch the task: its state, and every piece of its output as it arrives.
#    Pass the last cursor as "after" to go on where you stopped, at any time.
subscription TaskStream($taskId: ID!, $after: String) {
  taskStream(taskId: $taskId, after: $after) {
    __typename
    ... on TaskSnapshot { cursor output task { id status } }
    ... on TaskChanged { cursor event { type status attempt reason at } }
    ... on OutputDelta { cursor segment offset text }
    ... on OutputReset { cursor segment model reason }
    ... on CaughtUp { cursor }
    ... on Heartbeat { cursor serverTime }
    ... on ResyncRequired { reason }
  }
}
`,
    variables: JSON.stringify({ taskId: 'PASTE_THE_TASK_ID_HERE' }, null, 2),
    headers: signedIn,
  },
  {
    query: `# 6. Watch everything that happens in your personal workspace.
subscription WorkspaceFeed($after: String) {
  workspaceFeed(after: $after) {
    __typename
    ... on TaskChanged { cursor event { type status at task { id name } } }
    ... on CaughtUp { cursor }
    ... on Heartbeat { cursor serverTime }
    ... on ResyncRequired { reason }
  }
}
`,
    headers: signedIn,
  },
  {
    query: `# 7. A completion without an agent or a task, streamed.
subscription Completion($input: CompletionInput!) {
  completion(input: $input) {
    __typename
    ... on CompletionStarted { completionId model cached }
    ... on CompletionDelta { cursor offset text }
    ... on CompletionReset { model reason }
    ... on CompletionFinished { completion { text model latencyMs usage { totalTokens costUsd } } }
    ... on CompletionFailed { code message retryAfterMs partialText }
  }
}
`,
    variables: JSON.stringify({ input: { prompt: 'Say hello in three languages.' } }, null, 2),
    headers: signedIn,
  },
]
