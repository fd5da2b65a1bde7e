-- The transitions of a task. Each function is one transaction when it is called alone, as the program does.
--
-- Locks are always taken in this order, so that no two transactions can wait for each other:
--   tasks being ended (by id) -> agents (by id) -> tasks being claimed (SKIP LOCKED) -> workspace counters (by id), then commit at once.
--
-- Each statement inside a PL/pgSQL function sees what was committed before that statement. That is why locking and counting are two
-- statements: one statement that does both keeps its snapshot from before the lock, and a limit of 10 gave 29 running.

-- A task as the program reads it. The hash is bytes, and the claim order is ours alone.
CREATE FUNCTION task_json(t task) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT to_jsonb(t) - 'idempotency_hash' - 'claim_order'
$$;

-- Writes one event for each transition in the order given and returns the transitions as the program publishes them. The rows of
-- `task` must be as the transition left them. The counter rows are the last locks of a transaction: what commits first has the
-- lower numbers, and none is left out.
CREATE FUNCTION task_record_events(p_task_ids uuid[], p_types task_event_type[], p_reasons text[])
RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM workspace_counter
    WHERE workspace_id IN (SELECT workspace_id FROM task WHERE id = ANY (p_task_ids))
    ORDER BY workspace_id FOR NO KEY UPDATE;

  RETURN QUERY
  WITH draft AS (
    SELECT t.id, t.workspace_id, t.version, t.status, t.attempt, d.type, d.reason,
           row_number() OVER (PARTITION BY t.workspace_id ORDER BY d.position) AS n
      FROM unnest(p_task_ids, p_types, p_reasons) WITH ORDINALITY AS d (id, type, reason, position)
      JOIN task t ON t.id = d.id
  ), bump AS (
    UPDATE workspace_counter c SET feed_seq = c.feed_seq + s.n
      FROM (SELECT workspace_id, count(*) AS n FROM draft GROUP BY workspace_id) s
     WHERE c.workspace_id = s.workspace_id
    RETURNING c.workspace_id, c.feed_seq - s.n AS base
  ), event AS (
    INSERT INTO task_event (task_id, version, workspace_id, seq, type, status, attempt, reason, at)
    SELECT d.id, d.version, d.workspace_id, b.base + d.n, d.type, d.status, d.attempt, d.reason, clock_timestamp()
      FROM draft d JOIN bump b ON b.workspace_id = d.workspace_id
    RETURNING *
  )
  SELECT jsonb_build_object(
           'event', to_jsonb(e),
           'task', task_json(t),
           'output', CASE WHEN t.finished_at IS NOT NULL THEN coalesce(
             (SELECT jsonb_build_object('segment', s.segment, 'length', s.length)
                FROM output_segment s WHERE s.task_id = t.id ORDER BY s.segment DESC LIMIT 1),
             '{"segment": 0, "length": 0}') END)
    FROM event e JOIN task t ON t.id = e.task_id
   ORDER BY e.workspace_id, e.seq;
END
$$;

-- Moves the output of tasks that have just ended from chunks to its final place. What a run carried is there already; for the others
-- (a crash, a cancellation by force, an end between two runs) the text is put together from the chunks of the latest segment.
CREATE FUNCTION task_settle_output(p_task_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  WITH latest AS (
    SELECT task_id, max(segment) AS segment FROM output_segment WHERE task_id = ANY (p_task_ids) GROUP BY task_id
  ), assembled AS (
    SELECT l.task_id, l.segment, coalesce(string_agg(c.text, '' ORDER BY c.start_offset), '') AS text,
           coalesce(max(c.start_offset + c.length), 0) AS length
      FROM latest l LEFT JOIN output_chunk c ON c.task_id = l.task_id AND c.segment = l.segment
     GROUP BY l.task_id, l.segment
  ), settled AS (
    UPDATE output_segment s SET length = a.length FROM assembled a
     WHERE s.task_id = a.task_id AND s.segment = a.segment AND s.length IS NULL
    RETURNING s.task_id, a.text
  )
  UPDATE task_content c SET output = s.text FROM settled s WHERE c.task_id = s.task_id;

  DELETE FROM output_chunk WHERE task_id = ANY (p_task_ids);
END
$$;

-- Inserts tasks: an array of objects in the order given. A task whose idempotency key is taken, or whose agent is archived or not in the
-- workspace, is left out of what is returned; the caller finds out why.
CREATE FUNCTION task_create(p_tasks jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_ids uuid[];
BEGIN
  WITH draft AS (
    SELECT d.*, a.max_attempts AS agent_max_attempts, a.timeout_ms AS agent_timeout_ms, moment.now
      -- One moment for all, so that tasks submitted together are claimed in the order of their ids.
      FROM (SELECT clock_timestamp() AS now) AS moment CROSS JOIN ROWS FROM (jsonb_to_recordset(p_tasks) AS (
             id uuid, workspace_id uuid, agent_id uuid, created_by_id uuid, name text, priority int, run_at timestamptz,
             max_attempts int, timeout_ms int, idempotency_key text, idempotency_hash text)) WITH ORDINALITY
        AS d (id, workspace_id, agent_id, created_by_id, name, priority, run_at,
              max_attempts, timeout_ms, idempotency_key, idempotency_hash, position)
      JOIN agent a ON a.id = d.agent_id AND a.workspace_id = d.workspace_id AND a.status <> 'ARCHIVED'
  ), inserted AS (
    INSERT INTO task (id, workspace_id, agent_id, created_by_id, name, priority, status, run_at, queued_at, timeout_ms, max_attempts,
                      idempotency_key, idempotency_hash, created_at, updated_at)
    SELECT id, workspace_id, agent_id, created_by_id, name, coalesce(priority, 0),
           CASE WHEN run_at > now THEN 'SCHEDULED' ELSE 'QUEUED' END::task_status,
           run_at, CASE WHEN run_at > now THEN NULL ELSE now END,
           coalesce(timeout_ms, agent_timeout_ms), coalesce(max_attempts, agent_max_attempts),
           idempotency_key, decode(idempotency_hash, 'hex'), now, now
      FROM draft ORDER BY position
    ON CONFLICT (workspace_id, idempotency_key) DO NOTHING
    RETURNING id
  )
  SELECT coalesce(array_agg(i.id ORDER BY d.position), '{}') INTO v_ids FROM inserted i JOIN draft d ON d.id = i.id;

  INSERT INTO task_content (task_id, prompt, input)
  SELECT d.id, d.prompt, d.input FROM jsonb_to_recordset(p_tasks) AS d (id uuid, prompt text, input jsonb) WHERE d.id = ANY (v_ids);

  RETURN QUERY SELECT task_record_events(
    v_ids, array_fill('CREATED'::task_event_type, ARRAY[cardinality(v_ids)]), array_fill(NULL::text, ARRAY[cardinality(v_ids)]));
END
$$;

-- Writes the ledger: upstream calls and what they cost. Never fenced, because the money was spent, and safe to repeat.
CREATE FUNCTION record_model_calls(p_calls jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO model_attempt (id, task_id, attempt_number, completion_id, model, model_version, outcome, status, message, duration_ms, request_id, at)
  SELECT c.id, c.task_id, c.attempt_number, c.completion_id, c.model, c.model_version, c.outcome, c.status, c.message, c.duration_ms,
         c.request_id, c.at
    FROM jsonb_to_recordset(p_calls) AS c (
      id uuid, task_id uuid, attempt_number int, completion_id uuid, model text, model_version text, outcome text, status int, message text,
      duration_ms float8, request_id text, at timestamptz)
  ON CONFLICT (id) DO NOTHING;

  INSERT INTO usage_record (id, workspace_id, agent_id, user_id, task_id, attempt_number, completion_id, model, input_tokens,
                            cached_input_tokens, output_tokens, reasoning_tokens, estimated, cost_nano_usd, at)
  SELECT c.id, c.workspace_id, c.agent_id, c.user_id, c.task_id, c.attempt_number, c.completion_id, c.model, c.input_tokens,
         c.cached_input_tokens, c.output_tokens, c.reasoning_tokens, c.estimated, c.cost_nano_usd, c.at
    FROM jsonb_to_recordset(p_calls) AS c (
      id uuid, workspace_id uuid, agent_id uuid, user_id uuid, task_id uuid, attempt_number int, completion_id uuid, model text,
      input_tokens int, cached_input_tokens int, output_tokens int, reasoning_tokens int, estimated boolean, cost_nano_usd bigint,
      at timestamptz)
   WHERE c.input_tokens IS NOT NULL
  ON CONFLICT (id) DO NOTHING;
$$;

-- Ends runs. Returns the ids of the tasks that it ended, in the order of `p_ends`; the others' leases are not theirs any more.
-- `outcome` is SUCCEEDED, FAILED, RETRY (FAILED when that was the last attempt), CANCELLED or RELEASED (given back, not counted).
CREATE FUNCTION task_end_runs(p_ends jsonb, OUT ids uuid[], OUT types task_event_type[], OUT reasons text[]) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM task WHERE id IN (SELECT e.task_id FROM jsonb_to_recordset(p_ends) AS e (task_id uuid)) ORDER BY id FOR NO KEY UPDATE;

  WITH ending AS (
    SELECT e.*, t.attempt,
           CASE
             WHEN e.outcome = 'SUCCEEDED' THEN 'SUCCEEDED'
             WHEN e.outcome = 'CANCELLED' OR t.cancel_requested_at IS NOT NULL THEN 'CANCELLED'
             WHEN e.outcome = 'FAILED' OR (e.outcome = 'RETRY' AND t.attempts_used + 1 >= t.max_attempts) THEN 'FAILED'
             WHEN e.outcome = 'RETRY' THEN 'SCHEDULED'
             ELSE 'QUEUED'
           END::task_status AS next,
           CASE WHEN e.outcome = 'CANCELLED' OR (e.outcome <> 'SUCCEEDED' AND t.cancel_requested_at IS NOT NULL)
                THEN t.cancel_reason ELSE e.reason END AS why,
           clock_timestamp() AS now
      FROM ROWS FROM (jsonb_to_recordset(p_ends) AS (
             task_id uuid, lease_token uuid, outcome text, reason text, retry_delay_ms int, error_code text, error_message text,
             error_retryable boolean, output jsonb, output_json jsonb, model text, time_to_first_token_ms float8)) WITH ORDINALITY
        AS e (task_id, lease_token, outcome, reason, retry_delay_ms, error_code, error_message,
              error_retryable, output, output_json, model, time_to_first_token_ms, position)
      JOIN task t ON t.id = e.task_id AND t.lease_token = e.lease_token
     WHERE t.status = 'RUNNING' AND t.lease_expires_at > clock_timestamp()
  ), ended AS (
    UPDATE task t SET
      status = e.next, version = t.version + 1, reason = e.why, updated_at = e.now,
      attempts_used = t.attempts_used + CASE WHEN e.outcome = 'RELEASED' THEN 0 ELSE 1 END,
      lease_token = NULL, lease_expires_at = NULL, lease_process_id = NULL,
      run_at = CASE WHEN e.next = 'SCHEDULED' THEN e.now + e.retry_delay_ms * interval '1 millisecond' ELSE t.run_at END,
      queued_at = CASE WHEN e.next = 'SCHEDULED' THEN NULL ELSE t.queued_at END,
      finished_at = CASE WHEN e.next IN ('SUCCEEDED', 'FAILED', 'CANCELLED') THEN e.now END,
      error_code = e.error_code, error_message = e.error_message, error_retryable = e.error_retryable
      FROM ending e WHERE t.id = e.task_id
    RETURNING t.id
  ), attempted AS (
    UPDATE task_attempt a SET
      status = CASE WHEN e.next = 'CANCELLED' THEN 'CANCELLED' WHEN e.outcome = 'RETRY' THEN 'FAILED' ELSE e.outcome END::attempt_status,
      finished_at = e.now, model = e.model, time_to_first_token_ms = e.time_to_first_token_ms,
      error_code = e.error_code, error_message = e.error_message, error_retryable = e.error_retryable
      FROM ending e WHERE a.task_id = e.task_id AND a.number = e.attempt
  ), segment AS (
    INSERT INTO output_segment (task_id, segment, attempt, model, reason, length)
    SELECT e.task_id, o.segment, e.attempt, o.model, o.reason, o.length
      FROM ending e, jsonb_to_record(e.output) AS o (segment int, model text, reason text, length int)
     WHERE e.next IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND e.output IS NOT NULL
    ON CONFLICT (task_id, segment) DO UPDATE SET length = EXCLUDED.length
  ), content AS (
    UPDATE task_content c SET output = coalesce(e.output ->> 'text', c.output), output_json = e.output_json
      FROM ending e WHERE c.task_id = e.task_id AND e.next IN ('SUCCEEDED', 'FAILED', 'CANCELLED')
  )
  SELECT array_agg(e.task_id ORDER BY e.position),
         array_agg(CASE e.next WHEN 'SCHEDULED' THEN 'RETRY_SCHEDULED' WHEN 'QUEUED' THEN 'RELEASED' ELSE e.next::text END::task_event_type
                   ORDER BY e.position),
         array_agg(e.why ORDER BY e.position)
    INTO ids, types, reasons
    FROM ending e JOIN ended d ON d.id = e.task_id;

  PERFORM task_settle_output(ARRAY(SELECT id FROM task WHERE id = ANY (ids) AND finished_at IS NOT NULL));
END
$$;

-- Claims tasks: at most `slots` for each agent named, never more than its concurrency leaves. Concurrency is counted from live leases,
-- never stored, so a crash leaks no slot. `p_ended` are tasks whose runs end in the same transaction: given back, they wait for the next
-- one, because an event says how a transition left its task.
CREATE FUNCTION task_claim_runs(p_claims jsonb, p_ended uuid[], p_process_id uuid, p_lease_ms int, OUT ids uuid[]) LANGUAGE plpgsql AS $$
DECLARE
  v_agent record;
  v_picked uuid[];
BEGIN
  ids := '{}';
  PERFORM 1 FROM agent WHERE id IN (SELECT c.agent_id FROM jsonb_to_recordset(p_claims) AS c (agent_id uuid)) ORDER BY id FOR NO KEY UPDATE;

  FOR v_agent IN
    SELECT a.id, a.version, least(c.slots, a.concurrency - (
             SELECT count(*) FROM task l WHERE l.agent_id = a.id AND l.status = 'RUNNING' AND l.lease_expires_at > clock_timestamp())) AS slots
      FROM jsonb_to_recordset(p_claims) AS c (agent_id uuid, slots int) JOIN agent a ON a.id = c.agent_id
     WHERE a.status = 'ACTIVE'
  LOOP
    CONTINUE WHEN v_agent.slots <= 0;
    WITH pick AS MATERIALIZED (
      SELECT id FROM task WHERE agent_id = v_agent.id AND status = 'QUEUED' AND id <> ALL (p_ended)
       ORDER BY claim_order, id LIMIT v_agent.slots FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
      UPDATE task t SET
        status = 'RUNNING', version = t.version + 1, attempt = t.attempt + 1, reason = NULL, updated_at = clock_timestamp(),
        lease_token = gen_random_uuid(), lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond',
        lease_process_id = p_process_id, started_at = coalesce(t.started_at, clock_timestamp()),
        error_code = NULL, error_message = NULL, error_retryable = NULL
        FROM pick WHERE t.id = pick.id
      RETURNING t.id, t.attempt, t.claim_order
    ), attempted AS (
      INSERT INTO task_attempt (task_id, number, status, agent_version, process_id, started_at)
      SELECT id, attempt, 'RUNNING', v_agent.version, p_process_id, clock_timestamp() FROM claimed
    )
    SELECT array_agg(id ORDER BY claim_order, id) INTO v_picked FROM claimed;
    ids := ids || coalesce(v_picked, '{}');
  END LOOP;
END
$$;

-- One step of a worker process: writes the ledger, ends runs, then claims new ones in the slots that are free, all in one transaction.
-- Returns rows: kind 'transition' (to be published), 'ended' (an id of p_ends that was accepted), 'claimed' (what a run needs), 'ready' (the
-- id of an agent in which an end has left room for a task that waits: a hint before the commit may have come to a worker too early).
CREATE FUNCTION task_step(p_ends jsonb, p_calls jsonb, p_claims jsonb, p_process_id uuid, p_lease_ms int)
RETURNS TABLE (kind text, data jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_ended record;
  v_claimed uuid[];
BEGIN
  IF jsonb_array_length(p_calls) > 0 THEN PERFORM record_model_calls(p_calls); END IF;
  SELECT e.ids, e.types, e.reasons INTO v_ended FROM task_end_runs(p_ends) e;
  SELECT c.ids INTO v_claimed FROM task_claim_runs(p_claims, coalesce(v_ended.ids, '{}'), p_process_id, p_lease_ms) c;

  RETURN QUERY SELECT 'transition', task_record_events(
    coalesce(v_ended.ids, '{}') || v_claimed,
    coalesce(v_ended.types, '{}') || array_fill('STARTED'::task_event_type, ARRAY[cardinality(v_claimed)]),
    coalesce(v_ended.reasons, '{}') || array_fill(NULL::text, ARRAY[cardinality(v_claimed)]));

  RETURN QUERY SELECT 'ended', to_jsonb(id) FROM unnest(v_ended.ids) AS id;

  RETURN QUERY
  SELECT 'ready', to_jsonb(a.id) FROM agent a
   WHERE a.id IN (SELECT agent_id FROM task WHERE task.id = ANY (v_ended.ids)) AND a.status = 'ACTIVE'
     AND EXISTS (SELECT 1 FROM task q WHERE q.agent_id = a.id AND q.status = 'QUEUED')
     AND a.concurrency > (SELECT count(*) FROM task r
                           WHERE r.agent_id = a.id AND r.status = 'RUNNING' AND r.lease_expires_at > clock_timestamp());

  RETURN QUERY
  SELECT 'claimed', jsonb_build_object(
           'task', task_json(t), 'prompt', c.prompt, 'input', c.input,
           'agent', to_jsonb(a),
           'last_segment', coalesce((SELECT max(s.segment) FROM output_segment s WHERE s.task_id = t.id), 0))
    FROM unnest(v_claimed) WITH ORDINALITY AS v (id, position)
    JOIN task t ON t.id = v.id JOIN task_content c ON c.task_id = t.id JOIN agent a ON a.id = t.agent_id
   ORDER BY v.position;
END
$$;

-- Keeps the leases of a process's runs. What is not returned is not ours any more.
CREATE FUNCTION task_heartbeat(p_task_ids uuid[], p_lease_tokens uuid[], p_lease_ms int)
RETURNS TABLE (lease_token uuid, cancel_requested boolean) LANGUAGE sql AS $$
  WITH mine AS (
    SELECT t.id FROM unnest(p_task_ids, p_lease_tokens) AS h (id, token)
      JOIN task t ON t.id = h.id AND t.lease_token = h.token
     WHERE t.status = 'RUNNING' AND t.lease_expires_at > clock_timestamp()
     ORDER BY t.id FOR NO KEY UPDATE OF t
  )
  UPDATE task t SET lease_expires_at = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    FROM mine WHERE t.id = mine.id
  RETURNING t.lease_token, t.cancel_requested_at IS NOT NULL
$$;

-- Cancels: at once what is not running; what is running is asked to stop. What has ended, or was asked already, stays as it is.
CREATE FUNCTION task_cancel(p_task_ids uuid[], p_reason text) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_ids uuid[];
  v_types task_event_type[];
BEGIN
  PERFORM 1 FROM task WHERE id = ANY (p_task_ids) ORDER BY id FOR NO KEY UPDATE;

  WITH changed AS (
    UPDATE task SET
      version = version + 1, updated_at = clock_timestamp(), cancel_requested_at = clock_timestamp(), cancel_reason = p_reason,
      status = CASE WHEN status = 'RUNNING' THEN 'RUNNING' ELSE 'CANCELLED' END::task_status,
      reason = CASE WHEN status = 'RUNNING' THEN reason ELSE p_reason END,
      finished_at = CASE WHEN status = 'RUNNING' THEN NULL ELSE clock_timestamp() END
     WHERE id = ANY (p_task_ids)
       AND (status IN ('BLOCKED', 'SCHEDULED', 'QUEUED') OR (status = 'RUNNING' AND cancel_requested_at IS NULL))
    RETURNING id, status
  )
  SELECT coalesce(array_agg(id ORDER BY id), '{}'),
         array_agg(CASE status WHEN 'RUNNING' THEN 'CANCEL_REQUESTED' ELSE 'CANCELLED' END::task_event_type ORDER BY id)
    INTO v_ids, v_types FROM changed;

  PERFORM task_settle_output(ARRAY(SELECT id FROM task WHERE id = ANY (v_ids) AND finished_at IS NOT NULL));
  RETURN QUERY SELECT task_record_events(v_ids, v_types, array_fill(p_reason, ARRAY[cardinality(v_ids)]));
END
$$;

-- Repairs what crashes, the clock and archived agents leave behind, at most p_limit tasks of each kind:
--   running, lease over           -> the attempt is LOST; QUEUED again, or FAILED (crash policy, last attempt), or CANCELLED (it was asked to)
--   running, asked to stop long ago -> CANCELLED
--   scheduled and due             -> QUEUED
--   waiting for an archived agent -> CANCELLED
CREATE FUNCTION task_reconcile(p_cancel_grace_ms int, p_limit int) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  -- A variable, because no index is searched for a volatile function: that read all tasks that are scheduled.
  v_now timestamptz := clock_timestamp();
  v_found uuid[];
  v_ids uuid[];
  v_types task_event_type[];
  v_reasons text[];
BEGIN
  -- Locked first and read in the next statement: a cancellation that was committed in between is seen.
  v_found := ARRAY(
    SELECT id FROM task
     WHERE status = 'RUNNING'
       AND (lease_expires_at <= v_now OR cancel_requested_at <= v_now - p_cancel_grace_ms * interval '1 millisecond')
     LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
  v_found := v_found || ARRAY(
    SELECT id FROM task WHERE status = 'SCHEDULED' AND run_at <= v_now ORDER BY run_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
  -- Agent by agent: as a join with ORDER BY and LIMIT it read every task there is, 1 s at 500 000.
  v_found := v_found || ARRAY(
    SELECT t.id FROM task t
     WHERE t.status IN ('BLOCKED', 'SCHEDULED', 'QUEUED')
       AND t.id = ANY (ARRAY(
             SELECT waiting.id FROM agent a CROSS JOIN LATERAL (
               SELECT w.id FROM task w WHERE w.agent_id = a.id AND w.status IN ('BLOCKED', 'SCHEDULED', 'QUEUED') LIMIT p_limit) AS waiting
              WHERE a.status = 'ARCHIVED' LIMIT p_limit))
       FOR NO KEY UPDATE SKIP LOCKED);
  IF cardinality(v_found) = 0 THEN RETURN; END IF;

  WITH repair AS MATERIALIZED (
    SELECT t.id,
           CASE
             WHEN t.cancel_requested_at IS NOT NULL OR (t.status <> 'RUNNING' AND a.status = 'ARCHIVED') THEN 'CANCELLED'
             WHEN t.status <> 'RUNNING' THEN 'QUEUED'
             WHEN a.crash_policy = 'FAIL' OR t.attempts_used + 1 >= t.max_attempts THEN 'FAILED'
             ELSE 'QUEUED'
           END::task_status AS next,
           CASE
             WHEN t.cancel_requested_at IS NOT NULL THEN t.cancel_reason
             WHEN t.status = 'RUNNING' THEN 'The worker was lost.'
             WHEN a.status = 'ARCHIVED' THEN 'The agent was archived.'
           END AS why,
           t.status = 'RUNNING' AS was_running, t.status = 'RUNNING' AND t.lease_expires_at <= v_now AS is_lost
      FROM task t JOIN agent a ON a.id = t.agent_id
     WHERE t.id = ANY (v_found)
  ), repaired AS (
    UPDATE task t SET
      status = r.next, version = t.version + 1, reason = r.why, updated_at = clock_timestamp(),
      attempts_used = t.attempts_used + CASE WHEN r.was_running THEN 1 ELSE 0 END,
      lease_token = NULL, lease_expires_at = NULL, lease_process_id = NULL,
      queued_at = CASE WHEN r.next = 'QUEUED' THEN coalesce(t.queued_at, clock_timestamp()) ELSE t.queued_at END,
      finished_at = CASE WHEN r.next = 'QUEUED' THEN NULL ELSE clock_timestamp() END,
      error_code = CASE WHEN r.next = 'FAILED' THEN 'WORKER_LOST' END,
      error_message = CASE WHEN r.next = 'FAILED' THEN 'The process that ran the task was lost.' END,
      error_retryable = CASE WHEN r.next = 'FAILED' THEN true END
      FROM repair r WHERE t.id = r.id
    RETURNING t.id
  ), attempted AS (
    UPDATE task_attempt a SET
      status = CASE WHEN r.is_lost THEN 'LOST' ELSE 'CANCELLED' END::attempt_status, finished_at = clock_timestamp(),
      error_code = CASE WHEN r.is_lost THEN 'WORKER_LOST' END,
      error_message = CASE WHEN r.is_lost THEN 'The process that ran the task was lost.' END,
      error_retryable = CASE WHEN r.is_lost THEN true END
      FROM repair r WHERE r.was_running AND a.task_id = r.id AND a.status = 'RUNNING'
  )
  SELECT array_agg(r.id ORDER BY r.id), array_agg(r.next::text::task_event_type ORDER BY r.id), array_agg(r.why ORDER BY r.id)
    INTO v_ids, v_types, v_reasons FROM repair r JOIN repaired d ON d.id = r.id;

  PERFORM task_settle_output(ARRAY(SELECT id FROM task WHERE id = ANY (v_ids) AND finished_at IS NOT NULL));
  RETURN QUERY SELECT task_record_events(v_ids, v_types, v_reasons);
END
$$;
