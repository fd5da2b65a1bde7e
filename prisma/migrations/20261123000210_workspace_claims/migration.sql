-- Claims by workspace, under lease tokens that the claimer brings, and agents' states that runs write.
--
-- A wish names a workspace and has one lease token for each task that it would like: {"workspace_id", "lease_tokens", "again"}. Which agents'
-- tasks it gets is decided here, so that neither a workspace nor an agent has more turns for having more agents or more tasks:
--   the agent that runs fewest goes first, as if the tasks were handed out one at a time; within an agent, by claim order.
--
-- Locks, as before: tasks being ended (by id) -> their dependents (by id) -> agents (by id: those whose state is written and those that may be
-- claimed from, together) -> tasks being claimed (SKIP LOCKED) -> workspace counters (by id), then commit at once.

DROP FUNCTION task_claim_runs(jsonb, uuid[], uuid, int);

-- The agents that wishes may be granted from: active, with a task that waits and room for it, the least busy first, and one more for each
-- workspace than it has tokens: then somebody is left over. Nothing is locked yet, so this is a guess, and too many is harmless.
CREATE FUNCTION task_claim_candidates(p_claims jsonb) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
  -- A variable, because no index is searched for a volatile function.
  v_now timestamptz := clock_timestamp();
BEGIN
  RETURN ARRAY(
    SELECT candidate.id FROM (
      SELECT a.id, cardinality(c.lease_tokens) AS wanted,
             row_number() OVER (PARTITION BY c.workspace_id ORDER BY live.n, head.claim_order, a.id) AS place
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

-- Claims tasks for wishes, from agents that are locked: never more than a wish has tokens, or an agent has room for. Concurrency is counted from
-- live leases, never stored, so a crash leaks no slot. `p_ended` are tasks whose runs end in the same transaction: given back, they wait
-- for the next one, because an event says how a transition left its task. `more` are the workspaces in which something may be left.
CREATE FUNCTION task_claim_runs(p_claims jsonb, p_agent_ids uuid[], p_ended uuid[], p_process_id uuid, p_lease_ms int, OUT ids uuid[], OUT more uuid[])
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
           row_number() OVER (PARTITION BY w.workspace_id ORDER BY live.n + q.nth, q.claim_order, q.id) AS place
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
    UPDATE task t SET
      status = 'RUNNING', version = t.version + 1, attempt = t.attempt + 1, reason = NULL, updated_at = v_now,
      lease_token = p.lease_tokens[p.place], lease_expires_at = v_now + p_lease_ms * interval '1 millisecond',
      lease_process_id = p_process_id, started_at = coalesce(t.started_at, v_now),
      error_code = NULL, error_message = NULL, error_retryable = NULL
      FROM locked l JOIN pick p ON p.id = l.id
     WHERE t.id = l.id
    RETURNING t.id, t.attempt, p.agent_version, p.workspace_id, p.place
  ), attempted AS (
    INSERT INTO task_attempt (task_id, number, status, agent_version, process_id, started_at)
    SELECT id, attempt, 'RUNNING', agent_version, p_process_id, v_now FROM claimed
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

-- Tasks that are running under tokens of wishes that were made before: the commit came through, and its answer did not. Their leases are
-- renewed, because nobody has kept them meanwhile.
CREATE FUNCTION task_find_claimed(p_claims jsonb, p_lease_ms int) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_ids uuid[];
BEGIN
  WITH mine AS (
    SELECT t.id FROM task t
     WHERE t.status = 'RUNNING' AND t.lease_expires_at > v_now
       AND t.lease_token IN (
             SELECT unnest(c.lease_tokens) FROM jsonb_to_recordset(p_claims) AS c (lease_tokens uuid[], again boolean) WHERE c.again)
     ORDER BY t.id FOR NO KEY UPDATE
  ), kept AS (
    UPDATE task t SET lease_expires_at = v_now + p_lease_ms * interval '1 millisecond' FROM mine WHERE t.id = mine.id RETURNING t.id
  )
  SELECT coalesce(array_agg(id ORDER BY id), '{}') INTO v_ids FROM kept;
  RETURN v_ids;
END
$$;

-- Wishes without the tokens that tasks are running under already, and without those that have none left.
CREATE FUNCTION task_open_claims(p_claims jsonb, p_held uuid[]) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT coalesce(jsonb_agg(jsonb_build_object('workspace_id', open.workspace_id, 'lease_tokens', open.lease_tokens)), '[]')
    FROM (
      SELECT c.workspace_id, array_agg(token.value ORDER BY token.position) AS lease_tokens
        FROM jsonb_to_recordset(p_claims) AS c (workspace_id uuid, lease_tokens uuid[])
       CROSS JOIN LATERAL unnest(c.lease_tokens) WITH ORDINALITY AS token (value, position)
       WHERE token.value NOT IN (SELECT t.lease_token FROM task t WHERE t.id = ANY (p_held) AND t.lease_token IS NOT NULL)
       GROUP BY c.workspace_id
    ) AS open
$$;

-- Writes the states that runs which have just succeeded leave their agents: only over the version that the run was given, the first of a step
-- first. What is refused is not lost without a word: the task says so, and the value is still in its output. The agents are locked.
CREATE FUNCTION task_write_agent_states(p_writes jsonb, p_ended uuid[], INOUT p_reasons text[]) LANGUAGE plpgsql AS $$
DECLARE
  v_write record;
  v_at int;
  v_reason text;
BEGIN
  FOR v_write IN
    SELECT w.task_id, w.agent_state, w.agent_state_version, t.agent_id
      FROM ROWS FROM (jsonb_to_recordset(p_writes) AS (task_id uuid, agent_state jsonb, agent_state_version int)) WITH ORDINALITY
        AS w (task_id, agent_state, agent_state_version, position)
      JOIN task t ON t.id = w.task_id
     WHERE t.id = ANY (p_ended) AND t.status = 'SUCCEEDED'
     ORDER BY w.position
  LOOP
    UPDATE agent SET state = v_write.agent_state, state_version = state_version + 1, updated_at = clock_timestamp()
     WHERE id = v_write.agent_id AND state_version = v_write.agent_state_version;
    CONTINUE WHEN FOUND;
    SELECT format('The agent''s state was not written: the run was given version %s, and it is at version %s by now.',
                  v_write.agent_state_version, a.state_version)
      INTO v_reason FROM agent a WHERE a.id = v_write.agent_id;
    v_at := array_position(p_ended, v_write.task_id);
    p_reasons[v_at] := v_reason;
    UPDATE task SET reason = v_reason WHERE id = v_write.task_id;
  END LOOP;
END
$$;

-- One step of a worker process: writes the ledger, ends runs, then claims new ones in the slots that are free, all in one transaction.
-- Returns rows: kind 'transition' (to be published), 'ended' (an id of p_ends that was accepted), 'claimed' (what a run needs), 'ready' (the id
-- of a workspace in which a task waits that could run: a hint before the commit may have come to a worker too early).
-- What there is nothing of is not asked for: a step that only claims is half as long.
CREATE OR REPLACE FUNCTION task_step(p_ends jsonb, p_calls jsonb, p_claims jsonb, p_process_id uuid, p_lease_ms int)
RETURNS TABLE (kind text, data jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_ended uuid[] := '{}';
  v_types task_event_type[] := '{}';
  v_reasons text[] := '{}';
  v_writes jsonb := '[]';
  v_claims jsonb := p_claims;
  v_held uuid[] := '{}';
  v_agents uuid[] := '{}';
  v_claimed uuid[] := '{}';
  v_more uuid[] := '{}';
BEGIN
  IF jsonb_array_length(p_calls) > 0 THEN PERFORM record_model_calls(p_calls); END IF;
  IF jsonb_array_length(p_ends) > 0 THEN
    SELECT coalesce(e.ids, '{}'), coalesce(e.types, '{}'), coalesce(e.reasons, '{}')
      INTO v_ended, v_types, v_reasons FROM task_end_runs(p_ends) e;
    v_writes := jsonb_path_query_array(p_ends, '$[*] ? (exists (@.agent_state_version))');
  END IF;

  IF jsonb_path_exists(p_claims, '$[*] ? (@.again == true)') THEN
    v_held := task_find_claimed(p_claims, p_lease_ms);
    v_claims := task_open_claims(p_claims, v_held);
  END IF;
  IF jsonb_array_length(v_claims) > 0 THEN v_agents := task_claim_candidates(v_claims); END IF;
  IF cardinality(v_agents) > 0 OR jsonb_array_length(v_writes) > 0 THEN
    PERFORM 1 FROM agent
      WHERE id = ANY (v_agents)
         OR id IN (SELECT t.agent_id FROM jsonb_to_recordset(v_writes) AS w (task_id uuid) JOIN task t ON t.id = w.task_id)
      ORDER BY id FOR NO KEY UPDATE;
  END IF;
  IF jsonb_array_length(v_writes) > 0 THEN v_reasons := task_write_agent_states(v_writes, v_ended, v_reasons); END IF;
  IF cardinality(v_agents) > 0 THEN
    SELECT c.ids, c.more INTO v_claimed, v_more FROM task_claim_runs(v_claims, v_agents, v_ended, p_process_id, p_lease_ms) c;
  END IF;

  IF cardinality(v_ended) > 0 OR cardinality(v_claimed) > 0 THEN
    RETURN QUERY SELECT 'transition', task_record_events(
      v_ended || v_claimed,
      v_types || array_fill('STARTED'::task_event_type, ARRAY[cardinality(v_claimed)]),
      v_reasons || array_fill(NULL::text, ARRAY[cardinality(v_claimed)]));
  END IF;

  IF cardinality(v_ended) > 0 OR cardinality(v_more) > 0 THEN
    RETURN QUERY
    SELECT 'ended', to_jsonb(id) FROM unnest(v_ended) AS id
    UNION ALL
    SELECT 'ready', to_jsonb(ready.id) FROM (
      SELECT unnest(v_more) AS id
      UNION
      -- Where something was wished for in this step, `more` has said it.
      SELECT a.workspace_id FROM agent a
       WHERE a.id IN (SELECT t.agent_id FROM task t WHERE t.id = ANY (v_ended)) AND a.status = 'ACTIVE'
         AND a.workspace_id NOT IN (SELECT c.workspace_id FROM jsonb_to_recordset(p_claims) AS c (workspace_id uuid))
         AND EXISTS (SELECT 1 FROM task q WHERE q.agent_id = a.id AND q.status = 'QUEUED')
         AND a.concurrency > (SELECT count(*) FROM task r
                               WHERE r.agent_id = a.id AND r.status = 'RUNNING' AND r.lease_expires_at > clock_timestamp())
    ) AS ready;
  END IF;

  IF cardinality(v_claimed) > 0 OR cardinality(v_held) > 0 THEN
    RETURN QUERY
    SELECT 'claimed', jsonb_build_object(
             'task', task_json(t), 'prompt', c.prompt, 'input', c.input,
             'agent', to_jsonb(a),
             'last_segment', coalesce((SELECT max(s.segment) FROM output_segment s WHERE s.task_id = t.id), 0))
      FROM unnest(v_held || v_claimed) WITH ORDINALITY AS v (id, position)
      JOIN task t ON t.id = v.id JOIN task_content c ON c.task_id = t.id JOIN agent a ON a.id = t.agent_id
     ORDER BY v.position;
  END IF;
END
$$;

-- Changes the priority of a task that has not ended, and with it its place in the queue. For one that runs it holds from its next attempt on. A
-- task that has ended, or has that priority, is left out of what is returned.
CREATE FUNCTION task_set_priority(p_task_id uuid, p_priority int) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_reason text;
BEGIN
  UPDATE task SET priority = p_priority, version = version + 1, updated_at = clock_timestamp()
   WHERE id = p_task_id AND priority <> p_priority AND finished_at IS NULL
  RETURNING format('The priority is %s.', priority) INTO v_reason;
  IF NOT FOUND THEN RETURN; END IF;
  RETURN QUERY SELECT task_record_events(ARRAY[p_task_id], ARRAY['PRIORITY_CHANGED']::task_event_type[], ARRAY[v_reason]);
END
$$;
