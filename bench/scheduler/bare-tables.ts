/** What a program on bare BullMQ writes at the least: a row when a job is accepted, and one when it is begun. */
export const bareTables = `
  CREATE TABLE job (id uuid PRIMARY KEY, agent_id text NOT NULL, prompt text NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp());
  CREATE TABLE run (job_id uuid PRIMARY KEY REFERENCES job, started_at timestamptz NOT NULL DEFAULT clock_timestamp());
`

export const acceptedStatement = {
  name: 'accepted',
  text: 'INSERT INTO job (id, agent_id, prompt) VALUES ($1, $2, $3)',
}
export const startedStatement = { name: 'started', text: 'INSERT INTO run (job_id) VALUES ($1)' }

export const bareQueueName = 'bare-jobs'

export type BareJob = { id: string }

/** As many connections as a process of ours has. */
export const poolSize = 10
