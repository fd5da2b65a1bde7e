-- Among the agents of a workspace that run equally few tasks, the one goes first whose last claim is longest ago. By the age of what waits, agents
-- with long queues would keep a new one out for as long as there are more of them than free slots: the head of a long queue is always older.
-- Not indexed, so that writing it moves no index: the row is locked by the claim anyway.
ALTER TABLE "agent" ADD COLUMN "last_claimed_at" TIMESTAMPTZ(3);

-- The agents that wishes may be granted from: active, with a task that waits and room for it, the least busy first, and one more for each
-- workspace than it has tokens: then somebody is left over. Nothing is locked yet, so this is a guess, and too many is harmless.
CREATE OR REPLACE FUNCTION task_claim_candidates(p_claims jsonb) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
  -- A variable, because no index is searched for a volatile function.
  v_now timestamptz := clock_timestamp();
BEGIN
  RETURN ARRAY(
    SELECT candidate.id FROM (
      SELECT a.id, cardinality(c.lease_tokens) AS wanted,
             row_number() OVER (PARTITION BY c.workspace_id ORDER BY live.n, a.last_claimed_at NULLS FIRST, head.claim_order, a.id) AS place
        FROM jsonb_to_recordset(p_claims) AS c (workspace_id uuid, lease_tokens uuid[])
        JOIN agent a ON a.workspace_id = c.workspace_id AND a.status = 'ACTIVE'
       CROSS JOIN LATERAL (
               SELECT q.claim_order FROM task q WHERE q.agent_id = a.id AND q.status = 'QUEUED' ORDER BY q.claim_order, q.id LIMIT 1) AS head
       CROSS JOIN LATERAL (
               SELECT count(*) AS n FROM task r WHERE r.agent_id = a.id AND r.status = 'RUNNING' AND r.lease_expires_at > v_now) AS live
       WHERE live.n < a.concurrency
    ) AS candidate
    WHERE candidate.place <= candidate.wanted + 1);
END
$$;

-- Claims tasks for wishes, from agents that are locked: see 20261123000210_workspace_claims. Agents take turns.
CREATE OR REPLACE FUNCTION task_claim_runs(p_claims jsonb, p_agent_ids uuid[], p_ended uuid[], p_process_id uuid, p_lease_ms int, OUT ids uuid[], OUT more uuid[])
LANGUAGE plpgsql AS $$
DECLARE
  -- After the locks: what was committed before them is seen, and nobody else can claim from these agents.
  v_now timestamptz := clock_timestamp();
BEGIN
  WITH wish AS (
    SELECT c.workspace_id, c.lease_tokens FROM jsonb_to_recordset(p_claims) AS c (workspace_id uuid, lease_tokens uuid[])
  ), pick AS MATERIALIZED (
    SELECT w.workspace_id, w.lease_tokens, a.version AS agent_version, q.id,
           -- Handed out one at a time to whoever has fewest.
           row_number() OVER (PARTITION BY w.workspace_id ORDER BY live.n + q.nth, a.last_claimed_at NULLS FIRST, q.claim_order, q.id) AS place
      FROM wish w
      JOIN agent a ON a.workspace_id = w.workspace_id AND a.id = ANY (p_agent_ids) AND a.status = 'ACTIVE'
     CROSS JOIN LATERAL (
             SELECT count(*) AS n FROM task r WHERE r.agent_id = a.id AND r.status = 'RUNNING' AND r.lease_expires_at > v_now) AS live
     CROSS JOIN LATERAL (
             SELECT t.id, t.claim_order, row_number() OVER (ORDER BY t.claim_order, t.id) AS nth
               FROM task t
              WHERE t.agent_id = a.id AND t.status = 'QUEUED' AND t.id <> ALL (p_ended)
              ORDER BY t.claim_order, t.id
              LIMIT greatest(0, least(cardinality(w.lease_tokens) + 1, a.concurrency - live.n))) AS q
  ), locked AS MATERIALIZED (
    SELECT t.id FROM pick p JOIN task t ON t.id = p.id
     WHERE p.place <= cardinality(p.lease_tokens) AND t.status = 'QUEUED'
       FOR NO KEY UPDATE OF t SKIP LOCKED
  ), claimed AS (
    -- Not v_now: what this statement sees may have been committed after that, and an attempt begins when the one before it has ended.
    UPDATE task t SET
      status = 'RUNNING', version = t.version + 1, attempt = t.attempt + 1, reason = NULL, updated_at = clock_timestamp(),
      lease_token = p.lease_tokens[p.place], lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond',
      lease_process_id = p_process_id, started_at = coalesce(t.started_at, clock_timestamp()),
      error_code = NULL, error_message = NULL, error_retryable = NULL
      FROM locked l JOIN pick p ON p.id = l.id
     WHERE t.id = l.id
    RETURNING t.id, t.agent_id, t.attempt, p.agent_version, p.workspace_id, p.place
  ), attempted AS (
    INSERT INTO task_attempt (task_id, number, status, agent_version, process_id, started_at)
    SELECT id, attempt, 'RUNNING', agent_version, p_process_id, clock_timestamp() FROM claimed
  ), served AS (
    UPDATE agent a SET last_claimed_at = v_now WHERE a.id IN (SELECT c.agent_id FROM claimed c)
  )
  SELECT coalesce((SELECT array_agg(c.id ORDER BY c.workspace_id, c.place) FROM claimed c), '{}'),
         ARRAY(
           SELECT w.workspace_id FROM wish w
            WHERE (SELECT count(*) FROM pick p WHERE p.workspace_id = w.workspace_id) > cardinality(w.lease_tokens)
               -- Others may have emptied some of these meanwhile, and then there are agents that were not among them.
               OR (SELECT count(*) FROM agent a WHERE a.id = ANY (p_agent_ids) AND a.workspace_id = w.workspace_id) > cardinality(w.lease_tokens))
    INTO ids, more;
END
$$;
