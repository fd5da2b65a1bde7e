import type { Schedule, Task } from '../../../src/generated/prisma/client.ts'
import { rowId } from '../../support/first-task.ts'
import type { TestApp } from '../../support/test-app.ts'

export type ScheduleJson = {
  id: string
  name: string
  cron: string
  timeZone: string
  paused: boolean
  pausedReason: string | null
  template: Record<string, unknown>
  nextRunAt: string | null
  lastTask: { id: string; status: string; scheduledFor: string | null } | null
}

export const scheduleFields =
  'id name cron timeZone paused pausedReason template nextRunAt lastTask { id status scheduledFor }'

/** What a person does with schedules through the public API. */
export function createScheduler(app: TestApp, token: string) {
  const mutate = async (name: string, input: Record<string, unknown>): Promise<ScheduleJson> => {
    const type = `${name.charAt(0).toUpperCase()}${name.slice(1)}Input`.replace('Delete', '')
    const operation = `mutation ($input: ${type}!) { ${name}(input: $input) { schedule { ${scheduleFields} } } }`
    const data = await app.data<Record<string, { schedule: ScheduleJson }>>(operation, { input }, { token })
    const payload = data[name]
    if (payload === undefined) throw new Error(`${name} gave nothing`)
    return payload.schedule
  }
  return {
    create: (input: Record<string, unknown>) => mutate('createSchedule', input),
    update: (input: Record<string, unknown>) => mutate('updateSchedule', input),
    delete: (id: string) => mutate('deleteSchedule', { id }),
    async read(id: string): Promise<ScheduleJson | null> {
      const query = `query ($id: ID!) { node(id: $id) { ... on Schedule { ${scheduleFields} } } }`
      return (await app.data<{ node: ScheduleJson | null }>(query, { id }, { token })).node
    },
    async createAgent(input: Record<string, unknown> = {}): Promise<string> {
      const { createAgent } = await app.data<{ createAgent: { agent: { id: string } } }>(
        'mutation ($input: CreateAgentInput!) { createAgent(input: $input) { agent { id } } }',
        { input: { name: 'Agent', instructions: 'Work.', ...input } },
        { token },
      )
      return createAgent.agent.id
    },
    async act(operation: 'pauseAgent' | 'archiveAgent', id: string): Promise<void> {
      await app.data(
        `mutation ($input: AgentInput!) { ${operation}(input: $input) { agent { id } } }`,
        { input: { id } },
        { token },
      )
    },
    row: (id: string): Promise<Schedule> =>
      app.services.db.prisma.schedule.findUniqueOrThrow({ where: { id: rowId(id) } }),
    tasks: (id: string): Promise<Task[]> =>
      app.services.db.prisma.task.findMany({ where: { scheduleId: rowId(id) }, orderBy: { scheduledFor: 'asc' } }),
    /** As if the clock had moved on: it is due since then. */
    async makeDue(id: string, since: Date): Promise<void> {
      await app.services.db.prisma.schedule.update({ where: { id: rowId(id) }, data: { nextRunAt: since } })
    },
  }
}
