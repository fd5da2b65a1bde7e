-- Dependencies of tasks: who ends a task tells its dependents in the same transaction.
--
-- What a dependent hears is never counted down, but read anew from the rows: in one statement it is locked, in the next its dependencies
-- are looked at. Of two ends at once the second waits for the dependent, and then sees the first. So it may be told twice, and by
-- whoever finds it waiting for nothing.
--
-- Locks. Tasks that end and the dependents that hear of it are locked together, in the order of their ids, by one statement: what is going
-- to be touched is known before (task_affected), because a blocked task that skips or cancels itself ends for certain. Wave after wave
-- (the ended, their dependents, theirs in turn) deadlocks: ids do not rise along a chain of tasks that others had locked from its middle.
-- A dependent that is submitted between the look and the lock is locked late, out of order; should that ever meet another of its kind,
-- Postgres ends one of the two, and it is run again (by Database.query, Database.transaction, the step batcher). The order over all kinds of rows is:
--   tasks that end and blocked tasks (by id) -> agents (by id) -> tasks being claimed (SKIP LOCKED) -> workspace counters (by id), then commit.
-- The reconciler waits for no task: what is locked it leaves for later, in `task_dependents_due`.
--
-- Bounds. One transaction tells at most task_dependents_limit() dependents. Where there are more (a task with 100 000 dependents, a chain
-- as long), it leaves the ended task in `task_dependents_due`, and the reconciler goes on from there.

-- How many dependents one transaction tells: some 100 ms.
CREATE FUNCTION task_dependents_limit() RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 1000 $$;

CREATE FUNCTION task_has_ended(p_status task_status) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT p_status IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED')
$$;

CREATE FUNCTION task_has_failed(p_status task_status) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT p_status IN ('FAILED', 'CANCELLED', 'SKIPPED')
$$;

-- What a task depends on, and which blocked tasks depend on it, by id. OFFSET 0 keeps them what they say, index by index: joined, they are
-- planned once for all sizes, and then read whole tables for every task of a thousand, and for every link of a chain.
CREATE FUNCTION task_dependencies(p_task_id uuid)
RETURNS TABLE (id uuid, "position" int, name text, status task_status, on_dependency_failure dependency_failure_policy) LANGUAGE sql STABLE AS $$
  SELECT p.id, d.position, p.name, p.status, p.on_dependency_failure
    FROM (SELECT * FROM task_dependency WHERE task_id = p_task_id OFFSET 0) AS d
   CROSS JOIN LATERAL (SELECT * FROM task WHERE task.id = d.depends_on_id OFFSET 0) AS p
$$;

CREATE FUNCTION task_blocked_dependents(p_task_id uuid)
RETURNS TABLE (id uuid, on_dependency_failure dependency_failure_policy) LANGUAGE sql STABLE AS $$
  SELECT t.id, t.on_dependency_failure
    FROM (SELECT * FROM task_dependency WHERE depends_on_id = p_task_id ORDER BY task_id OFFSET 0) AS d
   CROSS JOIN LATERAL (SELECT * FROM task WHERE task.id = d.task_id AND task.status = 'BLOCKED' OFFSET 0) AS t
$$;

-- The blocked tasks that depend on any of these: at most p_limit, by id.
CREATE FUNCTION task_waiting_for(p_task_ids uuid[], p_limit int) RETURNS uuid[] LANGUAGE sql STABLE AS $$
  SELECT ARRAY(
    SELECT DISTINCT w.id
      FROM unnest(p_task_ids) AS e (id)
     CROSS JOIN LATERAL (SELECT d.id FROM task_blocked_dependents(e.id) d ORDER BY d.id LIMIT p_limit) AS w
     ORDER BY w.id LIMIT p_limit)
$$;

-- Of blocked tasks: which are affected by how their dependencies are, with p_failing as if they had failed already. `is_doomed`: it is
-- going to skip or cancel itself, and so those that depend on it are affected, too. At most p_limit are looked at, those given first;
-- `looks` says how often one was.
CREATE FUNCTION task_affected(p_task_ids uuid[], p_failing uuid[], p_limit int)
RETURNS TABLE (id uuid, is_doomed boolean, looks bigint) LANGUAGE sql STABLE AS $$
  WITH RECURSIVE affected (id, is_doomed) AS (
    SELECT t.id, t.on_dependency_failure <> 'RUN' AND EXISTS (
             SELECT 1 FROM task_dependencies(t.id) p WHERE task_has_failed(p.status) OR p.id = ANY (p_failing))
      FROM task t WHERE t.id = ANY (p_task_ids) AND t.status = 'BLOCKED'
    UNION
    SELECT d.id, d.on_dependency_failure <> 'RUN' FROM affected a CROSS JOIN LATERAL task_blocked_dependents(a.id) AS d WHERE a.is_doomed
  )
  SELECT c.id, bool_or(c.is_doomed), count(*) FROM (SELECT * FROM affected LIMIT p_limit) AS c GROUP BY c.id
$$;

-- Locks tasks that are about to end (those of p_failing without success) together with the dependents that will hear of it.
CREATE FUNCTION task_lock_ending(p_task_ids uuid[], p_failing uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_limit constant int := task_dependents_limit();
  v_waiting uuid[] := task_waiting_for(p_task_ids, v_limit);
BEGIN
  IF cardinality(v_waiting) > 0 THEN
    v_waiting := ARRAY(SELECT a.id FROM task_affected(v_waiting, p_failing, v_limit) a);
  END IF;
  PERFORM 1 FROM task WHERE id = ANY (p_task_ids || v_waiting) ORDER BY id FOR NO KEY UPDATE;
END
$$;

-- What became of the dependencies of these tasks, in words; a task of which none has failed is left out. Those of p_failing are going to fail,
-- by their own policy. For all at once: a function for each of 1 000 took 2 s.
CREATE FUNCTION task_failed_dependencies(p_task_ids uuid[], p_failing uuid[])
RETURNS TABLE (id uuid, why text) LANGUAGE sql STABLE AS $$
  SELECT f.task_id,
         CASE count(*)
           WHEN 1 THEN format('A task that it depends on%s.', min(f.what))
           ELSE format('%s tasks that it depends on did not succeed; the first%s.', count(*), (array_agg(f.what ORDER BY f.position))[1])
         END
    FROM (
      SELECT t.id AS task_id, p.position,
             coalesce(', “' || p.name || '”,', '') || CASE
               WHEN p.status = 'FAILED' THEN ' failed'
               WHEN p.status = 'CANCELLED' OR (p.status = 'BLOCKED' AND p.on_dependency_failure = 'CANCEL') THEN ' was cancelled'
               ELSE ' was skipped'
             END AS what
        FROM unnest(p_task_ids) AS t (id) CROSS JOIN LATERAL task_dependencies(t.id) AS p
       WHERE task_has_failed(p.status) OR p.id = ANY (p_failing)) AS f
   GROUP BY f.task_id
$$;

-- Tells blocked tasks how their dependencies are: what waits for nothing any more is QUEUED (or SCHEDULED, before its time), what cannot
-- run any more is SKIPPED or CANCELLED, and so are those that depend on that. Returns the transitions for task_record_events.
-- `is_cut`: the dependents of `ids` were more than one transaction tells. `is_busy`: without p_wait, somebody else has one of them locked,
-- and nothing was done.
CREATE FUNCTION task_tell_blocked(p_task_ids uuid[], p_wait boolean,
  OUT is_cut boolean, OUT is_busy boolean, OUT ids uuid[], OUT types task_event_type[], OUT reasons text[]) LANGUAGE plpgsql AS $$
DECLARE
  v_limit constant int := task_dependents_limit();
  v_now timestamptz;
  v_found uuid[];
  v_doomed uuid[];
  v_new uuid[];
  v_locked uuid[] := '{}';
  v_released record;
BEGIN
  is_busy := false;
  ids := '{}'; types := '{}'; reasons := '{}';

  -- Until a look finds nobody who is not locked: others may have come while the locks were waited for. The last look is the one that counts.
  LOOP
    SELECT coalesce(array_agg(a.id), '{}'), coalesce(array_agg(a.id) FILTER (WHERE a.is_doomed), '{}'), coalesce(sum(a.looks), 0) >= v_limit
      INTO v_found, v_doomed, is_cut FROM task_affected(p_task_ids, '{}', v_limit) a;
    v_new := ARRAY(SELECT unnest(v_found) EXCEPT SELECT unnest(v_locked));
    EXIT WHEN cardinality(v_new) = 0;
    IF p_wait THEN
      PERFORM 1 FROM task WHERE id = ANY (v_new) ORDER BY id FOR NO KEY UPDATE;
    ELSE
      is_busy := cardinality(v_new) > cardinality(ARRAY(
        SELECT id FROM task WHERE id = ANY (v_new) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED));
      IF is_busy THEN RETURN; END IF;
    END IF;
    v_locked := v_locked || v_new;
  END LOOP;
  IF cardinality(v_found) = 0 THEN RETURN; END IF;

  v_now := clock_timestamp();
  IF cardinality(v_doomed) > 0 THEN
    WITH doomed AS (
      UPDATE task t SET
        status = CASE t.on_dependency_failure WHEN 'CANCEL' THEN 'CANCELLED' ELSE 'SKIPPED' END::task_status, version = t.version + 1,
        reason = f.why, updated_at = v_now, finished_at = v_now
        FROM task_failed_dependencies(v_doomed, v_doomed) f WHERE t.id = f.id
      RETURNING t.id, t.status, t.reason
    )
    SELECT array_agg(d.id ORDER BY d.id), array_agg(d.status::text::task_event_type ORDER BY d.id), array_agg(d.reason ORDER BY d.id)
      INTO ids, types, reasons FROM doomed d;
    PERFORM task_settle_output(ids);
  END IF;

  -- The others, as their dependencies are now. Where the look was cut, one may have lost a dependency just now: it hears of it later.
  WITH state AS (
    SELECT t.id, count(*) FILTER (WHERE NOT task_has_ended(p.status)) AS unmet,
           coalesce(bool_or(task_has_failed(p.status)), false) AND t.on_dependency_failure <> 'RUN' AS is_doomed
      FROM task t LEFT JOIN LATERAL task_dependencies(t.id) AS p ON true
     WHERE t.id = ANY (v_found) AND t.status = 'BLOCKED'
     GROUP BY t.id
  ), released AS (
    UPDATE task t SET
      status = CASE WHEN t.run_at > v_now THEN 'SCHEDULED' ELSE 'QUEUED' END::task_status, version = t.version + 1,
      reason = f.why, unmet_dependencies = 0, updated_at = v_now,
      queued_at = CASE WHEN t.run_at > v_now THEN NULL ELSE v_now END
      FROM state s LEFT JOIN task_failed_dependencies(v_found, '{}') f ON f.id = s.id
     WHERE t.id = s.id AND s.unmet = 0 AND NOT s.is_doomed
    RETURNING t.id, t.status, t.reason
  ), counted AS (
    UPDATE task t SET unmet_dependencies = s.unmet FROM state s WHERE t.id = s.id AND s.unmet > 0 AND t.unmet_dependencies <> s.unmet
  )
  SELECT coalesce(array_agg(r.id ORDER BY r.id), '{}') AS ids,
         coalesce(array_agg(r.status::text::task_event_type ORDER BY r.id), '{}') AS types,
         coalesce(array_agg(r.reason ORDER BY r.id), '{}') AS reasons
    INTO v_released FROM released r;
  ids := ids || v_released.ids; types := types || v_released.types; reasons := reasons || v_released.reasons;
END
$$;

-- Leaves for the reconciler what has still to be told to the dependents of these tasks. One that was left before is begun anew.
CREATE FUNCTION task_leave_dependents(p_task_ids uuid[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO task_dependents_due (task_id)
  SELECT e.id FROM unnest(p_task_ids) AS e (id)
   WHERE EXISTS (SELECT 1 FROM task_blocked_dependents(e.id))
   ORDER BY e.id
  ON CONFLICT (task_id) DO UPDATE SET after_id = NULL
$$;

-- Tells the dependents of tasks that have just ended, and are locked. Returns the transitions for task_record_events.
CREATE FUNCTION task_tell_dependents(p_ended uuid[], p_wait boolean, OUT ids uuid[], OUT types task_event_type[], OUT reasons text[])
LANGUAGE plpgsql AS $$
DECLARE
  v_limit constant int := task_dependents_limit();
  v_waiting uuid[] := task_waiting_for(p_ended, v_limit);
  v_told record;
BEGIN
  ids := '{}'; types := '{}'; reasons := '{}';
  IF cardinality(v_waiting) = 0 THEN RETURN; END IF;
  SELECT * INTO v_told FROM task_tell_blocked(v_waiting, p_wait);
  ids := v_told.ids; types := v_told.types; reasons := v_told.reasons;
  IF v_told.is_busy OR cardinality(v_waiting) >= v_limit THEN PERFORM task_leave_dependents(p_ended); END IF;
  IF v_told.is_cut THEN PERFORM task_leave_dependents(ids); END IF;
END
$$;

-- Goes on where task_leave_dependents has left off: tells at most p_limit dependents. Waits for nobody: what is locked stays for the next
-- time. Returns rows: kind 'transition', and 'more' when there is more to do.
CREATE FUNCTION task_tell_rest(p_limit int) RETURNS TABLE (kind text, data jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_due record;
  v_page uuid[];
  v_blocked uuid[] := '{}';
  v_done uuid[] := '{}';
  v_begun uuid;
  v_told record;
BEGIN
  FOR v_due IN SELECT task_id, after_id FROM task_dependents_due ORDER BY task_id LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED LOOP
    v_page := ARRAY(
      SELECT d.task_id FROM task_dependency d CROSS JOIN LATERAL (SELECT 1 FROM task t WHERE t.id = d.task_id AND t.status = 'BLOCKED' OFFSET 0) AS t
       WHERE d.depends_on_id = v_due.task_id AND d.task_id > coalesce(v_due.after_id, '00000000-0000-0000-0000-000000000000')
       ORDER BY d.task_id LIMIT p_limit - cardinality(v_blocked));
    v_blocked := v_blocked || v_page;
    IF cardinality(v_blocked) >= p_limit THEN
      v_begun := v_due.task_id;
      EXIT;
    END IF;
    v_done := v_done || v_due.task_id;
  END LOOP;
  IF v_begun IS NULL AND cardinality(v_done) = 0 THEN RETURN; END IF;

  SELECT * INTO v_told FROM task_tell_blocked(v_blocked, false);
  IF v_told.is_busy THEN RETURN; END IF;
  DELETE FROM task_dependents_due WHERE task_id = ANY (v_done);
  -- The last one of what it has, because the page was full with it.
  UPDATE task_dependents_due SET after_id = v_blocked[cardinality(v_blocked)] WHERE task_id = v_begun AND cardinality(v_page) > 0;
  IF v_told.is_cut THEN PERFORM task_leave_dependents(v_told.ids); END IF;

  RETURN QUERY SELECT 'transition', task_record_events(v_told.ids, v_told.types, v_told.reasons);
  RETURN QUERY SELECT 'more', 'true'::jsonb WHERE EXISTS (SELECT 1 FROM task_dependents_due);
END
$$;

-- Looks at blocked tasks, those after p_after in the order of their ids, at most p_limit, and tells those that wait for nothing. There are
-- none, as long as the other functions do what they say. Returns rows: kind 'transition', and 'next', the id to go on after.
CREATE FUNCTION task_tell_overlooked(p_after uuid, p_limit int) RETURNS TABLE (kind text, data jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_page uuid[];
  v_overlooked uuid[];
  v_told record;
BEGIN
  v_page := ARRAY(SELECT id FROM task WHERE status = 'BLOCKED' AND id > p_after ORDER BY id LIMIT p_limit);
  IF cardinality(v_page) = p_limit THEN RETURN QUERY SELECT 'next', to_jsonb(v_page[p_limit]); END IF;
  v_overlooked := ARRAY(
    SELECT t.id FROM task t
     WHERE t.id = ANY (v_page)
       AND (NOT EXISTS (SELECT 1 FROM task_dependencies(t.id) p WHERE NOT task_has_ended(p.status))
            OR (t.on_dependency_failure <> 'RUN' AND EXISTS (SELECT 1 FROM task_dependencies(t.id) p WHERE task_has_failed(p.status)))));
  IF cardinality(v_overlooked) = 0 THEN RETURN; END IF;
  SELECT * INTO v_told FROM task_tell_blocked(v_overlooked, false);
  IF v_told.is_cut THEN PERFORM task_leave_dependents(v_told.ids); END IF;
  RETURN QUERY SELECT 'transition', task_record_events(v_told.ids, v_told.types, v_told.reasons);
END
$$;

-- Inserts tasks: an array of objects in the order given. A task is left out of what is returned when its idempotency key or its
-- schedule's due time is taken, when its agent is archived or not in the workspace, or when a dependency does not exist in the workspace; the
-- caller finds out why. Tasks of one array may depend on each other: a graph, of which the caller wants all or nothing.
CREATE OR REPLACE FUNCTION task_create(p_tasks jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  -- One moment for all, so that tasks submitted together are claimed in the order of their ids.
  v_now constant timestamptz := clock_timestamp();
  v_given uuid[];
  v_depends_on uuid[];
  v_ids uuid[];
  v_told record;
BEGIN
  SELECT array_agg(d.id) INTO v_given FROM jsonb_to_recordset(p_tasks) AS d (id uuid);
  v_depends_on := ARRAY(
    SELECT DISTINCT x.id FROM jsonb_to_recordset(p_tasks) AS d (depends_on uuid[]), unnest(d.depends_on) AS x (id) WHERE x.id <> ALL (v_given));
  -- Who ends one of them from here on finds its new dependents; what has ended is read in the next statement.
  IF cardinality(v_depends_on) > 0 THEN
    PERFORM 1 FROM task WHERE id = ANY (v_depends_on) ORDER BY id FOR SHARE;
  END IF;

  WITH draft AS (
    SELECT d.*, a.max_attempts AS agent_max_attempts, a.timeout_ms AS agent_timeout_ms, dependency.total, dependency.unmet,
           dependency.pending > 0 AS is_blocked, d.run_at > v_now AS is_later
      FROM ROWS FROM (jsonb_to_recordset(p_tasks) AS (
             id uuid, workspace_id uuid, agent_id uuid, created_by_id uuid, name text, priority int, run_at timestamptz,
             max_attempts int, timeout_ms int, idempotency_key text, idempotency_hash text, depends_on uuid[],
             on_dependency_failure dependency_failure_policy, schedule_id uuid, scheduled_for timestamptz)) WITH ORDINALITY
        AS d (id, workspace_id, agent_id, created_by_id, name, priority, run_at, max_attempts, timeout_ms, idempotency_key,
              idempotency_hash, depends_on, on_dependency_failure, schedule_id, scheduled_for, position)
      JOIN agent a ON a.id = d.agent_id AND a.workspace_id = d.workspace_id AND a.status <> 'ARCHIVED'
     CROSS JOIN LATERAL (
             SELECT count(*) AS total, count(*) FILTER (WHERE p.id IS NULL AND x.id <> ALL (v_given)) AS missing,
                    count(*) FILTER (WHERE p.id IS NULL OR NOT task_has_ended(p.status)) AS unmet,
                    -- What has ended without success lets nothing run before it has told so.
                    count(*) FILTER (WHERE p.status IS DISTINCT FROM 'SUCCEEDED') AS pending
               FROM unnest(d.depends_on) AS x (id)
               LEFT JOIN LATERAL (SELECT * FROM task WHERE task.id = x.id AND task.workspace_id = d.workspace_id OFFSET 0) AS p ON true) AS dependency
     WHERE dependency.missing = 0
  ), inserted AS (
    INSERT INTO task (id, workspace_id, agent_id, created_by_id, name, priority, status, run_at, queued_at, timeout_ms, max_attempts,
                      idempotency_key, idempotency_hash, on_dependency_failure, dependency_count, unmet_dependencies, schedule_id,
                      scheduled_for, created_at, updated_at)
    SELECT id, workspace_id, agent_id, created_by_id, name, coalesce(priority, 0),
           CASE WHEN is_blocked THEN 'BLOCKED' WHEN is_later THEN 'SCHEDULED' ELSE 'QUEUED' END::task_status,
           run_at, CASE WHEN is_blocked OR is_later THEN NULL ELSE v_now END,
           coalesce(timeout_ms, agent_timeout_ms), coalesce(max_attempts, agent_max_attempts),
           idempotency_key, decode(idempotency_hash, 'hex'), coalesce(on_dependency_failure, 'SKIP'), total, unmet, schedule_id,
           scheduled_for, v_now, v_now
      -- A key or a due time that another transaction is just taking is waited for: in one order, or two such batches wait for each other.
      FROM draft ORDER BY workspace_id, idempotency_key, schedule_id, scheduled_for, position
    ON CONFLICT DO NOTHING
    RETURNING id
  )
  SELECT coalesce(array_agg(i.id ORDER BY d.position), '{}') INTO v_ids FROM inserted i JOIN draft d ON d.id = i.id;

  INSERT INTO task_content (task_id, prompt, input)
  SELECT d.id, d.prompt, d.input FROM jsonb_to_recordset(p_tasks) AS d (id uuid, prompt text, input jsonb) WHERE d.id = ANY (v_ids);

  INSERT INTO task_dependency (task_id, depends_on_id, position)
  SELECT d.id, x.id, x.position - 1
    FROM jsonb_to_recordset(p_tasks) AS d (id uuid, depends_on uuid[]), unnest(d.depends_on) WITH ORDINALITY AS x (id, position)
   WHERE d.id = ANY (v_ids);

  RETURN QUERY SELECT task_record_events(
    v_ids, array_fill('CREATED'::task_event_type, ARRAY[cardinality(v_ids)]), array_fill(NULL::text, ARRAY[cardinality(v_ids)]));

  -- What depends on a task that had ended without success hears of it at once: a transition of its own, after its first.
  IF cardinality(v_depends_on) > 0 THEN
    SELECT * INTO v_told FROM task_tell_blocked(
      ARRAY(SELECT t.id FROM unnest(v_ids) AS t (id) WHERE EXISTS (SELECT 1 FROM task_dependencies(t.id) p WHERE task_has_failed(p.status))), true);
    IF v_told.is_cut THEN PERFORM task_leave_dependents(v_told.ids); END IF;
    RETURN QUERY SELECT task_record_events(v_told.ids, v_told.types, v_told.reasons);
  END IF;
END
$$;

-- Inserts a graph: tasks that may depend on each other, all of them or none. Under an idempotency key (p_graph: id, workspace_id,
-- idempotency_key, idempotency_hash; null: without) nothing is inserted or returned when the key is taken. Raises GR001 when a task had to be
-- left out, because its agent was archived meanwhile.
CREATE FUNCTION task_create_graph(p_graph jsonb, p_tasks jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_created uuid[];
BEGIN
  IF p_graph IS NOT NULL THEN
    INSERT INTO task_graph (id, workspace_id, idempotency_key, idempotency_hash, task_ids, created_at)
    SELECT g.id, g.workspace_id, g.idempotency_key, decode(g.idempotency_hash, 'hex'),
           ARRAY(SELECT (t.task ->> 'id')::uuid FROM jsonb_array_elements(p_tasks) WITH ORDINALITY AS t (task, position) ORDER BY t.position),
           clock_timestamp()
      FROM jsonb_to_record(p_graph) AS g (id uuid, workspace_id uuid, idempotency_key text, idempotency_hash text)
    ON CONFLICT (workspace_id, idempotency_key) DO NOTHING;
    IF NOT FOUND THEN RETURN; END IF;
  END IF;

  RETURN QUERY SELECT task_create(p_tasks);
  SELECT array_agg(t.id) INTO v_created
    FROM task t WHERE t.id IN (SELECT d.id FROM jsonb_to_recordset(p_tasks) AS d (id uuid));
  IF coalesce(cardinality(v_created), 0) < jsonb_array_length(p_tasks) THEN
    RAISE EXCEPTION 'a task of the graph cannot be created' USING ERRCODE = 'GR001';
  END IF;
END
$$;

-- Ends runs. Returns the transitions: first the ids of the tasks that it ended, in the order of `p_ends` (the others' leases are not theirs
-- any more), then those of the dependents that heard of it.
-- `outcome` is SUCCEEDED, FAILED, RETRY (FAILED when that was the last attempt), CANCELLED or RELEASED (given back, not counted).
CREATE OR REPLACE FUNCTION task_end_runs(p_ends jsonb, OUT ids uuid[], OUT types task_event_type[], OUT reasons text[]) LANGUAGE plpgsql AS $$
DECLARE
  v_ending record;
  v_ended uuid[];
  v_told record;
BEGIN
  IF jsonb_array_length(p_ends) = 0 THEN RETURN; END IF;
  SELECT array_agg(t.id) AS ids,
         coalesce(array_agg(t.id) FILTER (
           WHERE e.outcome IN ('FAILED', 'CANCELLED') OR (e.outcome <> 'SUCCEEDED' AND t.cancel_requested_at IS NOT NULL)
              OR (e.outcome = 'RETRY' AND t.attempts_used + 1 >= t.max_attempts)), '{}') AS failing
    INTO v_ending FROM jsonb_to_recordset(p_ends) AS e (task_id uuid, outcome text) JOIN task t ON t.id = e.task_id;
  PERFORM task_lock_ending(v_ending.ids, v_ending.failing);

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
      -- Given back by a process that stops, and cancelled meanwhile, it is a cancelled attempt.
      attempts_used = t.attempts_used + CASE WHEN e.outcome = 'RELEASED' AND e.next = 'QUEUED' THEN 0 ELSE 1 END,
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

  v_ended := ARRAY(SELECT id FROM task WHERE id = ANY (ids) AND finished_at IS NOT NULL);
  IF cardinality(v_ended) = 0 THEN RETURN; END IF;
  PERFORM task_settle_output(v_ended);
  SELECT * INTO v_told FROM task_tell_dependents(v_ended, true);
  ids := ids || v_told.ids; types := types || v_told.types; reasons := reasons || v_told.reasons;
END
$$;

-- Cancels: at once what is not running, and its dependents hear of it; what is running is asked to stop. What has ended, or was asked
-- already, stays as it is.
CREATE OR REPLACE FUNCTION task_cancel(p_task_ids uuid[], p_reason text) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_ids uuid[];
  v_types task_event_type[];
  v_ended uuid[];
  v_told record;
BEGIN
  PERFORM task_lock_ending(p_task_ids, ARRAY(SELECT id FROM task WHERE id = ANY (p_task_ids) AND status IN ('BLOCKED', 'SCHEDULED', 'QUEUED')));

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
         array_agg(CASE status WHEN 'RUNNING' THEN 'CANCEL_REQUESTED' ELSE 'CANCELLED' END::task_event_type ORDER BY id),
         coalesce(array_agg(id) FILTER (WHERE status = 'CANCELLED'), '{}')
    INTO v_ids, v_types, v_ended FROM changed;

  PERFORM task_settle_output(v_ended);
  SELECT * INTO v_told FROM task_tell_dependents(v_ended, true);
  RETURN QUERY SELECT task_record_events(
    v_ids || v_told.ids, v_types || v_told.types, array_fill(p_reason, ARRAY[cardinality(v_ids)]) || v_told.reasons);
END
$$;

-- Repairs what crashes, the clock and archived agents leave behind, at most p_limit tasks of each kind:
--   running, lease over           -> the attempt is LOST; QUEUED again, or FAILED (crash policy, last attempt), or CANCELLED (it was asked to)
--   running, asked to stop long ago -> CANCELLED
--   scheduled and due             -> QUEUED
--   waiting for an archived agent -> CANCELLED
-- The dependents of what has ended hear of it in the same transaction; when somebody has one of them locked, by task_tell_rest.
CREATE OR REPLACE FUNCTION task_reconcile(p_cancel_grace_ms int, p_limit int) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  -- A variable, because no index is searched for a volatile function: that read all tasks that are scheduled.
  v_now timestamptz := clock_timestamp();
  v_found uuid[];
  v_ids uuid[];
  v_types task_event_type[];
  v_reasons text[];
  v_ended uuid[];
  v_told record;
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

  v_ended := ARRAY(SELECT id FROM task WHERE id = ANY (v_ids) AND finished_at IS NOT NULL);
  IF cardinality(v_ended) > 0 THEN
    PERFORM task_settle_output(v_ended);
    SELECT * INTO v_told FROM task_tell_dependents(v_ended, false);
    v_ids := v_ids || v_told.ids; v_types := v_types || v_told.types; v_reasons := v_reasons || v_told.reasons;
  END IF;
  RETURN QUERY SELECT task_record_events(v_ids, v_types, v_reasons);
END
$$;

-- Planned once per connection (see the migration that says so for all functions), and always by index: a plan that was made while the tables
-- were small reads all of them later.
DO $$
DECLARE
  v_function regprocedure;
BEGIN
  FOR v_function IN
    SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace = current_schema()::regnamespace AND l.lanname = 'plpgsql' AND p.proname LIKE 'task\_%'
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = %L', v_function, 'force_generic_plan');
  END LOOP;
END
$$;
ALTER FUNCTION task_lock_ending SET enable_seqscan = off;
ALTER FUNCTION task_tell_blocked SET enable_seqscan = off;
ALTER FUNCTION task_tell_dependents SET enable_seqscan = off;
ALTER FUNCTION task_tell_rest SET enable_seqscan = off;
ALTER FUNCTION task_tell_overlooked SET enable_seqscan = off;
