/** Something that no crash may break. */
export type AuditRule = {
  rule: string
  /** A query for what breaks it: rows of (id, found). */
  offenders: string
}

/** What holds at every moment, in every snapshot. */
export const rulesAlways: readonly AuditRule[] = [
  {
    rule: 'the events of a task are numbered from 1 to its version',
    offenders: `
      SELECT t.id, format('version %s and events %s', t.version, e.versions) AS found
        FROM task t CROSS JOIN LATERAL (SELECT array_agg(version ORDER BY version) AS versions FROM task_event WHERE task_id = t.id) e
       WHERE e.versions IS DISTINCT FROM ARRAY(SELECT generate_series(1, t.version))`,
  },
  {
    rule: 'the feed of a workspace is numbered from 1 to its counter',
    offenders: `
      SELECT c.workspace_id AS id, format('counter %s, %s events from %s to %s', c.feed_seq, e.count, e.first, e.last) AS found
        FROM workspace_counter c
       CROSS JOIN LATERAL (SELECT count(*) AS count, min(seq) AS first, max(seq) AS last FROM task_event WHERE workspace_id = c.workspace_id) e
       WHERE e.count <> c.feed_seq OR (e.count > 0 AND (e.first <> 1 OR e.last <> e.count))`,
  },
  {
    rule: 'the attempts of a task are numbered from 1 to its latest',
    offenders: `
      SELECT t.id, format('attempt %s and rows %s', t.attempt, a.numbers) AS found
        FROM task t
       CROSS JOIN LATERAL (SELECT coalesce(array_agg(number ORDER BY number), '{}') AS numbers FROM task_attempt WHERE task_id = t.id) a
       WHERE a.numbers <> ARRAY(SELECT generate_series(1, t.attempt))`,
  },
  {
    rule: 'the last event of a task says the status that it has',
    offenders: `
      SELECT t.id, format('status %s, last event %s', t.status, e.status) AS found
        FROM task t JOIN task_event e ON e.task_id = t.id AND e.version = t.version
       WHERE e.status <> t.status`,
  },
  {
    rule: 'a task goes from one state to another as the state machine says',
    offenders: `
      SELECT task_id AS id, format('%s after %s by %s (version %s)', status, before, type, version) AS found
        FROM (SELECT *, lag(status) OVER (PARTITION BY task_id ORDER BY version) AS before FROM task_event) e
       WHERE NOT CASE
               WHEN before IS NULL THEN type = 'CREATED' AND status IN ('BLOCKED', 'SCHEDULED', 'QUEUED')
               WHEN type = 'REVIVED' THEN before IN ('FAILED', 'CANCELLED', 'SKIPPED') AND status IN ('BLOCKED', 'SCHEDULED', 'QUEUED')
               WHEN type = 'PRIORITY_CHANGED' THEN before = status AND status IN ('BLOCKED', 'SCHEDULED', 'QUEUED', 'RUNNING')
               WHEN before = 'BLOCKED' THEN status IN ('SCHEDULED', 'QUEUED', 'CANCELLED', 'SKIPPED')
               WHEN before = 'SCHEDULED' THEN status IN ('QUEUED', 'CANCELLED')
               WHEN before = 'QUEUED' THEN status IN ('RUNNING', 'SCHEDULED', 'CANCELLED')
               WHEN before = 'RUNNING' THEN
                 status IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'SCHEDULED', 'QUEUED') OR (status = 'RUNNING' AND type = 'CANCEL_REQUESTED')
               ELSE false
             END`,
  },
  {
    rule: 'each start of a run is the next attempt, and nothing is said of an earlier one after it',
    offenders: `
      SELECT task_id AS id, format('%s of attempt %s after attempt %s (version %s)', type, attempt, before, version) AS found
        FROM (SELECT *, coalesce(lag(attempt) OVER (PARTITION BY task_id ORDER BY version), 0) AS before FROM task_event) e
       WHERE attempt <> before + CASE WHEN type = 'STARTED' THEN 1 ELSE 0 END`,
  },
  {
    rule: 'an attempt begins when the one before it has ended',
    offenders: `
      SELECT task_id AS id, format('attempt %s, ended %s, and the next one since %s', number, finished_at, next) AS found
        FROM (SELECT *, lead(started_at) OVER (PARTITION BY task_id ORDER BY number) AS next FROM task_attempt) a
       WHERE next IS NOT NULL AND (finished_at IS NULL OR next < finished_at)`,
  },
  {
    rule: 'a task has a lease and an attempt under way when it is running, and only then',
    offenders: `
      SELECT t.id, format('status %s, lease token %s, %s attempts under way', t.status, coalesce(t.lease_token::text, 'none'), a.count) AS found
        FROM task t
       CROSS JOIN LATERAL (SELECT count(*) AS count FROM task_attempt WHERE task_id = t.id AND status = 'RUNNING') a
       WHERE (t.status = 'RUNNING') <> (t.lease_token IS NOT NULL)
          OR (t.lease_token IS NULL) <> (t.lease_expires_at IS NULL)
          OR a.count <> CASE WHEN t.status = 'RUNNING' THEN 1 ELSE 0 END`,
  },
  {
    rule: 'every attempt that has ended counts, but those that were given back',
    offenders: `
      SELECT t.id, format('%s attempts used, %s to be counted', t.attempts_used, a.count) AS found
        FROM task t
       CROSS JOIN LATERAL (
         SELECT count(*) AS count FROM task_attempt
          WHERE task_id = t.id AND status NOT IN ('RELEASED', 'RUNNING')
            AND number > coalesce((SELECT max(attempt) FROM task_event WHERE task_id = t.id AND type = 'REVIVED'), 0)) a
       WHERE t.attempts_used <> a.count`,
  },
  {
    rule: 'a task has succeeded when its last attempt has, and after that there is none',
    offenders: `
      SELECT t.id, format('status %s and attempts %s', t.status, a.statuses) AS found
        FROM task t
       CROSS JOIN LATERAL (
         SELECT coalesce(array_agg(status::text ORDER BY number), '{}') AS statuses, count(*) FILTER (WHERE status = 'SUCCEEDED') AS succeeded
           FROM task_attempt WHERE task_id = t.id) a
       WHERE a.succeeded <> CASE WHEN t.status = 'SUCCEEDED' THEN 1 ELSE 0 END
          OR (t.status = 'SUCCEEDED' AND a.statuses[t.attempt] <> 'SUCCEEDED')`,
  },
  {
    rule: 'an attempt that succeeded has its call and the usage of it in the ledger',
    offenders: `
      SELECT a.task_id AS id, format('none for attempt %s', a.number) AS found
        FROM task_attempt a
       WHERE a.status = 'SUCCEEDED'
         AND NOT EXISTS (SELECT 1 FROM model_attempt m JOIN usage_record u ON u.id = m.id
                          WHERE m.task_id = a.task_id AND m.attempt_number = a.number AND m.outcome = 'succeeded')`,
  },
  {
    rule: 'segments of output belong to ever later attempts',
    offenders: `
      SELECT task_id AS id, format('segment %s of attempt %s, then one of attempt %s', segment, attempt, next) AS found
        FROM (SELECT *, lead(attempt) OVER (PARTITION BY task_id ORDER BY segment) AS next FROM output_segment) s
       WHERE next < attempt`,
  },
  {
    rule: 'chunks of output are those of the latest segment, without a gap',
    offenders: `
      SELECT task_id AS id, format('segment %s: %s units at %s, then %s', segment, length, start_offset, next) AS found
        FROM (SELECT c.*, lead(start_offset) OVER (PARTITION BY task_id, segment ORDER BY start_offset) AS next,
                     (SELECT max(segment) FROM output_segment s WHERE s.task_id = c.task_id) AS latest
                FROM output_chunk c) c
       WHERE segment <> latest OR next <> start_offset + length`,
  },
  {
    rule: 'a task that has ended has no chunks of output',
    offenders: `
      SELECT t.id, format('status %s and %s chunks', t.status, count(*)) AS found
        FROM task t JOIN output_chunk c ON c.task_id = t.id WHERE t.finished_at IS NOT NULL GROUP BY t.id`,
  },
  {
    rule: 'a task begins when all that it depends on has ended',
    offenders: `
      SELECT d.task_id AS id, format('a start before the end of %s', d.depends_on_id) AS found
        FROM task_dependency d
       WHERE (SELECT min(seq) FROM task_event WHERE task_id = d.task_id AND type = 'STARTED')
           < (SELECT min(seq) FROM task_event WHERE task_id = d.depends_on_id AND status IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED'))`,
  },
]

/** What holds as well when everything has ended. */
export const rulesAtRest: readonly AuditRule[] = [
  {
    rule: 'every task has ended',
    offenders: `
      SELECT id, format('status %s (%s), version %s', status, coalesce(reason, 'no reason'), version) AS found
        FROM task WHERE status NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED') OR finished_at IS NULL`,
  },
  {
    rule: 'a task follows its policy when something that it depends on did not succeed',
    offenders: `
      SELECT t.id, format('status %s with policy %s, %s of %s dependencies succeeded', t.status, t.on_dependency_failure, d.succeeded, d.count) AS found
        FROM task t
       CROSS JOIN LATERAL (
         SELECT count(*) AS count, count(*) FILTER (WHERE o.status = 'SUCCEEDED') AS succeeded
           FROM task_dependency d JOIN task o ON o.id = d.depends_on_id WHERE d.task_id = t.id) d
       WHERE NOT CASE
               WHEN d.succeeded = d.count OR t.on_dependency_failure = 'RUN' THEN t.status <> 'SKIPPED'
               WHEN t.on_dependency_failure = 'SKIP' THEN t.status IN ('SKIPPED', 'CANCELLED')
               ELSE t.status = 'CANCELLED'
             END`,
  },
]
