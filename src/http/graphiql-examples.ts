export type Example = { query: string; headers?: string }

const headers = JSON.stringify({ Authorization: 'Bearer PASTE_THE_ACCESS_TOKEN_HERE' }, null, 2)

/** The tabs that GraphiQL opens with, in the order in which one would try them. */
export const examples: readonly Example[] = [
  {
    query: `# Welcome to Monk-AI. Run the tabs from left to right.
#
# 1. An account. Copy its access token into the "Headers" (below) of the other tabs.
#    The token is valid for ten minutes; logIn, with the same input, gives another.
mutation SignUp {
  signUp(input: { email: "you@example.org", password: "violet-otter-canyon-42" }) {
    accessToken
    accessTokenExpiresAt
    user { id email role }
  }
}
`,
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
    headers,
  },
  {
    query: `# 3. An agent: instructions and limits. Without "models" it uses the server's default.
mutation CreateAgent {
  createAgent(input: {
    name: "Haiku writer"
    instructions: "You answer every question with one haiku."
    concurrency: 2
  }) {
    agent { id name models concurrency timeoutMs status }
  }
}
`,
    headers,
  },
  {
    query: `# 4. A task for the agent.
mutation CreateTask {
  createTask(input: { agentId: "PASTE_THE_AGENT_ID_HERE", prompt: "What is the sea like in November?" }) {
    task { id status statusReason priority createdAt }
  }
}
`,
    headers,
  },
  {
    query: `# 5. Watch the task: its state, and every piece of its output as it arrives.
#    Pass the last cursor as "after" to go on where you stopped, at any time.
subscription TaskStream {
  taskStream(taskId: "PASTE_THE_TASK_ID_HERE") {
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
    headers,
  },
  {
    query: `# 6. Watch everything that happens in your personal workspace.
subscription WorkspaceFeed {
  workspaceFeed {
    __typename
    ... on TaskChanged { cursor event { type status at task { id name } } }
    ... on CaughtUp { cursor }
    ... on Heartbeat { cursor serverTime }
    ... on ResyncRequired { reason }
  }
}
`,
    headers,
  },
  {
    query: `# 7. A completion without an agent or a task, streamed. With the same key it is told again, or goes on
#    behind a cursor ("after"), also after a lost connection.
subscription Completion {
  completion(input: { prompt: "Say hello in three languages.", key: "hello-1" }) {
    __typename
    ... on CompletionStarted { completionId model cached }
    ... on CompletionDelta { cursor offset text }
    ... on CompletionReset { model reason }
    ... on CompletionFinished { completion { text model latencyMs usage { totalTokens costUsd } } }
    ... on CompletionFailed { code message retryAfterMs partialText }
  }
}
`,
    headers,
  },
  {
    query: `# 8. A task every morning. It is made at its time by the clocks of the zone, once, and runs like any other.
#    updateSchedule(input: { id: "…", paused: true }) pauses it.
mutation CreateSchedule {
  createSchedule(input: {
    name: "Good morning"
    cron: "0 9 * * MON-FRI"
    timeZone: "Europe/Berlin"
    task: { agentId: "PASTE_THE_AGENT_ID_HERE", prompt: "What is worth doing today?" }
  }) {
    schedule { id nextRunAt paused lastTask { id status output } }
  }
}
`,
    headers,
  },
  {
    query: `# 9. What may be spent, and what was. Take your workspace's id from example 2.
mutation Budget {
  setBudget(input: { workspaceId: "PASTE_THE_WORKSPACE_ID_HERE", period: MONTH, limitUsd: 20 }) {
    budget { id period limitUsd spentUsd reservedUsd hard }
  }
}

query Spent($from: DateTime = "2026-01-01T00:00:00Z", $to: DateTime = "2027-01-01T00:00:00Z") {
  workspace { budgets { period limitUsd spentUsd hard agent { name } } }
  usage(from: $from, to: $to, groupBy: [MODEL, DAY]) { start model requests usage { totalTokens costUsd savedUsd } }
}
`,
    headers,
  },
  {
    query: `# 10. A key for a program: it may read this workspace and submit tasks. Its secret is shown once: send it as
#     "Authorization: Bearer mk_…".
mutation CreateApiKey {
  createApiKey(input: { name: "My script", scopes: [READ, TASKS] }) {
    secret
    apiKey { id name prefix scopes expiresAt }
  }
}

# Which sessions are mine? revokeSession(input: { id: "…" }) ends one, revokeOtherSessions all but this one.
query Sessions {
  viewer { sessions { id current userAgent ip createdAt lastUsedAt expiresAt } }
  workspace { apiKeys { id name prefix scopes lastUsedAt } }
}
`,
    headers,
  },
]
