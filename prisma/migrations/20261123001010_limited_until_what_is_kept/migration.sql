-- A task that is put back keeps its moment in milliseconds, rounded; the reason cut it off, and named the millisecond before in half of all cases. One
-- moment, rounded once, is what both say.
-- Gives runs back whose agent or workspace may make no more model calls for now: SCHEDULED for when it may, without using an attempt. Returns
-- rows: kind 'transition' (to be published), 'ended' (the id of a task that was given back). What is not among them has another lease by now, or
-- is to be cancelled: end it by task_end_runs.
CREATE OR REPLACE FUNCTION task_postpone_runs(p_ends jsonb, p_calls jsonb)
RETURNS TABLE (kind text, data jsonb) LANGUAGE plpgsql
SET plan_cache_mode = 'force_generic_plan' SET enable_seqscan = off AS $$
DECLARE
  v_ids uuid[];
  v_reasons text[];
BEGIN
  IF jsonb_array_length(p_calls) > 0 THEN PERFORM record_model_calls(p_calls); END IF;

  PERFORM 1 FROM task WHERE id IN (SELECT e.task_id FROM jsonb_to_recordset(p_ends) AS e (task_id uuid)) ORDER BY id FOR NO KEY UPDATE;

  WITH ending AS (
    SELECT e.*, t.attempt, moment.now, until.at AS until,
           format('Limited until %s: %s', to_char(until.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), e.reason) AS why
      FROM ROWS FROM (jsonb_to_recordset(p_ends) AS (
             task_id uuid, lease_token uuid, reason text, delay_ms int, error_code text, error_message text, model text)) WITH ORDINALITY
        AS e (task_id, lease_token, reason, delay_ms, error_code, error_message, model, position)
      JOIN task t ON t.id = e.task_id AND t.lease_token = e.lease_token
      CROSS JOIN LATERAL (SELECT clock_timestamp() AS now) AS moment
      CROSS JOIN LATERAL (SELECT (moment.now + e.delay_ms * interval '1 millisecond')::timestamptz(3) AS at) AS until
     WHERE t.status = 'RUNNING' AND t.lease_expires_at > clock_timestamp() AND t.cancel_requested_at IS NULL
  ), postponed AS (
    UPDATE task t SET
      status = 'SCHEDULED', version = t.version + 1, reason = e.why, updated_at = e.now,
      lease_token = NULL, lease_expires_at = NULL, lease_process_id = NULL, run_at = e.until, queued_at = NULL
      FROM ending e WHERE t.id = e.task_id
    RETURNING t.id
  ), attempted AS (
    UPDATE task_attempt a SET
      status = 'RELEASED', finished_at = e.now, model = e.model,
      error_code = e.error_code, error_message = e.error_message, error_retryable = true
      FROM ending e WHERE a.task_id = e.task_id AND a.number = e.attempt
  )
  SELECT coalesce(array_agg(e.task_id ORDER BY e.position), '{}'), coalesce(array_agg(e.why ORDER BY e.position), '{}')
    INTO v_ids, v_reasons
    FROM ending e JOIN postponed p ON p.id = e.task_id;

  RETURN QUERY SELECT 'transition', task_record_events(
    v_ids, array_fill('SCHEDULED'::task_event_type, ARRAY[cardinality(v_ids)]), v_reasons);
  RETURN QUERY SELECT 'ended', to_jsonb(id) FROM unnest(v_ids) AS id;
END
$$;
