-- Retrying: a task that ended without success begins again, and with it what its policy had skipped or cancelled because of it.
--
-- What comes back is decided as a whole: a dependent that was ended by its policy comes back when, with all that comes back, none of its
-- dependencies is left that has ended without success. So the order in which several are retried does not matter. Locks and bounds are
-- those of the dependents that hear of an end: all in one order by id, at most task_dependents_limit() in one transaction, the rest by
-- task_tell_rest.

-- The dependents of a task that were skipped or cancelled by their own policy, and whose agent still takes tasks.
CREATE FUNCTION task_ended_dependents(p_task_id uuid) RETURNS TABLE (id uuid) LANGUAGE sql STABLE AS $$
  SELECT t.id
    FROM (SELECT * FROM task_dependency WHERE depends_on_id = p_task_id ORDER BY task_id OFFSET 0) AS d
   CROSS JOIN LATERAL (
           SELECT * FROM task
            WHERE task.id = d.task_id
              -- Who was cancelled by somebody stays cancelled.
              AND (task.status = 'SKIPPED'
                   OR (task.status = 'CANCELLED' AND task.cancel_requested_at IS NULL AND task.on_dependency_failure = 'CANCEL'))
           OFFSET 0) AS t
   CROSS JOIN LATERAL (SELECT 1 FROM agent WHERE agent.id = t.agent_id AND agent.status <> 'ARCHIVED' OFFSET 0) AS a
$$;

-- What may come back with these tasks: themselves, and what was ended because of them, and because of that.
CREATE FUNCTION task_revivable(p_task_ids uuid[], p_limit int) RETURNS TABLE (id uuid) LANGUAGE sql STABLE AS $$
  WITH RECURSIVE reached (id) AS (
    SELECT t.id FROM task t CROSS JOIN LATERAL (SELECT 1 FROM agent WHERE agent.id = t.agent_id AND agent.status <> 'ARCHIVED' OFFSET 0) AS a
     WHERE t.id = ANY (p_task_ids) AND task_has_failed(t.status)
    UNION
    SELECT d.id FROM reached r CROSS JOIN LATERAL task_ended_dependents(r.id) AS d
  )
  SELECT reached.id FROM reached LIMIT p_limit
$$;

-- Those of them that would end again at once: they depend on something that has ended without success and does not come back.
CREATE FUNCTION task_hopeless(p_task_ids uuid[]) RETURNS TABLE (id uuid) LANGUAGE sql STABLE AS $$
  WITH RECURSIVE hopeless (id) AS (
    SELECT t.id FROM task t
     WHERE t.id = ANY (p_task_ids) AND t.on_dependency_failure <> 'RUN'
       AND EXISTS (SELECT 1 FROM task_dependencies(t.id) p WHERE task_has_failed(p.status) AND p.id <> ALL (p_task_ids))
    UNION
    SELECT t.id FROM hopeless h
     CROSS JOIN LATERAL (SELECT * FROM task_dependency WHERE depends_on_id = h.id OFFSET 0) AS d
     CROSS JOIN LATERAL (SELECT * FROM task WHERE task.id = d.task_id AND task.on_dependency_failure <> 'RUN' OFFSET 0) AS t
     WHERE t.id = ANY (p_task_ids)
  )
  SELECT hopeless.id FROM hopeless
$$;

-- Revives tasks, from the start: all of their attempts are theirs again, the number of the next goes on. Returns the transitions for
-- task_record_events. `is_cut` and `is_busy` as in task_tell_blocked.
CREATE FUNCTION task_revive(p_task_ids uuid[], p_wait boolean,
  OUT is_cut boolean, OUT is_busy boolean, OUT ids uuid[], OUT types task_event_type[], OUT reasons text[]) LANGUAGE plpgsql AS $$
DECLARE
  v_limit constant int := task_dependents_limit();
  v_now timestamptz;
  v_found uuid[];
  v_blocked uuid[];
  v_new uuid[];
  v_locked uuid[] := '{}';
BEGIN
  is_busy := false;
  ids := '{}'; types := '{}'; reasons := '{}';

  -- As in task_tell_blocked: the last look finds nobody who is not locked.
  LOOP
    v_found := ARRAY(SELECT r.id FROM task_revivable(p_task_ids, v_limit) r);
    is_cut := cardinality(v_found) >= v_limit;
    -- Those that wait for others, too, wait for one more now.
    v_blocked := task_waiting_for(v_found, v_limit);
    v_new := ARRAY(SELECT unnest(v_found || v_blocked) EXCEPT SELECT unnest(v_locked));
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
  v_found := ARRAY(SELECT unnest(v_found) EXCEPT SELECT h.id FROM task_hopeless(v_found) h);
  IF cardinality(v_found) = 0 THEN RETURN; END IF;

  v_now := clock_timestamp();
  WITH state AS (
    SELECT t.id, count(*) FILTER (WHERE p.id = ANY (v_found) OR NOT task_has_ended(p.status)) AS unmet,
           -- What had run was due: the time that stands there is of a retry.
           CASE WHEN t.attempt > 0 AND t.run_at > v_now THEN NULL ELSE t.run_at END AS run_at
      FROM task t LEFT JOIN LATERAL task_dependencies(t.id) AS p ON true
     WHERE t.id = ANY (v_found)
     GROUP BY t.id
  ), revived AS (
    UPDATE task t SET
      status = CASE WHEN s.unmet > 0 THEN 'BLOCKED' WHEN s.run_at > v_now THEN 'SCHEDULED' ELSE 'QUEUED' END::task_status,
      version = t.version + 1, reason = f.why, updated_at = v_now, unmet_dependencies = s.unmet, attempts_used = 0, run_at = s.run_at,
      queued_at = CASE WHEN s.unmet > 0 OR s.run_at > v_now THEN NULL ELSE v_now END, started_at = NULL, finished_at = NULL,
      cancel_requested_at = NULL, cancel_reason = NULL, error_code = NULL, error_message = NULL, error_retryable = NULL
      FROM state s LEFT JOIN task_failed_dependencies(v_found, '{}') f ON f.id = s.id AND s.unmet = 0
     WHERE t.id = s.id
    RETURNING t.id, t.status, t.attempt
  ), dropped AS (
    UPDATE task_content c SET output = NULL, output_json = NULL FROM revived r
     WHERE c.task_id = r.id AND (c.output IS NOT NULL OR c.output_json IS NOT NULL)
  ), opened AS (
    -- The text so far is void. An empty segment says so to whoever has it, and the numbers go on, so that every cursor stays good.
    INSERT INTO output_segment (task_id, segment, attempt, reason)
    SELECT r.id, max(o.segment) + 1, r.attempt, 'The task was retried.'
      FROM revived r JOIN output_segment o ON o.task_id = r.id GROUP BY r.id, r.attempt
  )
  SELECT array_agg(r.id ORDER BY r.id), array_agg('REVIVED'::task_event_type ORDER BY r.id),
         array_agg(CASE WHEN r.id = ANY (p_task_ids) THEN NULL ELSE 'A task that it depends on was retried.' END ORDER BY r.id)
    INTO ids, types, reasons FROM revived r;

  UPDATE task t SET unmet_dependencies = (SELECT count(*) FROM task_dependencies(t.id) p WHERE NOT task_has_ended(p.status))
   WHERE t.id = ANY (v_blocked) AND t.status = 'BLOCKED';
END
$$;

-- Leaves for the reconciler what may have to come back with these tasks.
CREATE FUNCTION task_leave_ended_dependents(p_task_ids uuid[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO task_dependents_due (task_id)
  SELECT e.id FROM unnest(p_task_ids) AS e (id) WHERE EXISTS (SELECT 1 FROM task_ended_dependents(e.id)) ORDER BY e.id
  ON CONFLICT (task_id) DO UPDATE SET after_id = NULL
$$;

-- Retries tasks. Nothing happens to those that have not ended or have succeeded, whose agent is archived, or that depend on a task that ended
-- without success and is not retried, unless their policy is RUN.
CREATE FUNCTION task_retry(p_task_ids uuid[]) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_revived record;
BEGIN
  SELECT * INTO v_revived FROM task_revive(p_task_ids, true);
  IF v_revived.is_cut THEN PERFORM task_leave_ended_dependents(v_revived.ids); END IF;
  RETURN QUERY SELECT task_record_events(v_revived.ids, v_revived.types, v_revived.reasons);
END
$$;

-- Goes on where task_leave_dependents and task_leave_ended_dependents have left off, with at most p_limit dependents: those of tasks that have
-- ended are told so, those of tasks that live again come back. One of the two in each call, because an event says how a transition left
-- its task. Waits for nobody: what is locked stays for the next time. Returns rows: kind 'transition', and 'more' when there is more to do.
CREATE OR REPLACE FUNCTION task_tell_rest(p_limit int) RETURNS TABLE (kind text, data jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_due record;
  v_have_ended boolean;
  v_page uuid[];
  v_pages uuid[] := '{}';
  v_done uuid[] := '{}';
  v_begun uuid;
  v_told record;
BEGIN
  FOR v_due IN
    SELECT d.task_id, coalesce(d.after_id, '00000000-0000-0000-0000-000000000000') AS after_id, task_has_ended(t.status) AS has_ended
      FROM task_dependents_due d JOIN task t ON t.id = d.task_id
     ORDER BY d.task_id LIMIT p_limit FOR NO KEY UPDATE OF d SKIP LOCKED
  LOOP
    v_have_ended := coalesce(v_have_ended, v_due.has_ended);
    CONTINUE WHEN v_due.has_ended <> v_have_ended;
    IF v_have_ended THEN
      v_page := ARRAY(SELECT b.id FROM task_blocked_dependents(v_due.task_id) b WHERE b.id > v_due.after_id
                       ORDER BY b.id LIMIT p_limit - cardinality(v_pages));
    ELSE
      v_page := ARRAY(SELECT e.id FROM task_ended_dependents(v_due.task_id) e WHERE e.id > v_due.after_id
                       ORDER BY e.id LIMIT p_limit - cardinality(v_pages));
    END IF;
    v_pages := v_pages || v_page;
    IF cardinality(v_pages) >= p_limit THEN
      v_begun := v_due.task_id;
      EXIT;
    END IF;
    v_done := v_done || v_due.task_id;
  END LOOP;
  IF v_begun IS NULL AND cardinality(v_done) = 0 THEN RETURN; END IF;

  IF v_have_ended THEN SELECT * INTO v_told FROM task_tell_blocked(v_pages, false);
  ELSE SELECT * INTO v_told FROM task_revive(v_pages, false);
  END IF;
  IF v_told.is_busy THEN RETURN; END IF;
  DELETE FROM task_dependents_due WHERE task_id = ANY (v_done);
  -- The last one of what it has, because the page was full with it.
  UPDATE task_dependents_due SET after_id = v_pages[cardinality(v_pages)] WHERE task_id = v_begun AND cardinality(v_page) > 0;
  IF v_told.is_cut AND v_have_ended THEN PERFORM task_leave_dependents(v_told.ids); END IF;
  IF v_told.is_cut AND NOT v_have_ended THEN PERFORM task_leave_ended_dependents(v_told.ids); END IF;

  RETURN QUERY SELECT 'transition', task_record_events(v_told.ids, v_told.types, v_told.reasons);
  RETURN QUERY SELECT 'more', 'true'::jsonb WHERE EXISTS (SELECT 1 FROM task_dependents_due);
END
$$;

-- See task_graph_functions.
ALTER FUNCTION task_revive SET plan_cache_mode = 'force_generic_plan';
ALTER FUNCTION task_revive SET enable_seqscan = off;
ALTER FUNCTION task_retry SET plan_cache_mode = 'force_generic_plan';
ALTER FUNCTION task_tell_rest SET plan_cache_mode = 'force_generic_plan';
ALTER FUNCTION task_tell_rest SET enable_seqscan = off;
