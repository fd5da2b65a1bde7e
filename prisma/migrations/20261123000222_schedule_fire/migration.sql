-- task_create writes the schedule and the due time by itself: nothing is left to do after it.

-- Fires schedules that are due: for each of them the next due time is written and its task created, or neither. `p_fires` are objects
--   {"schedule_id", "version", "next_run_at", "task", "pause_reason"}
-- with the version that the decision was made from: who decided from another one, or comes while somebody else fires, does nothing. So each
-- due time has one task, however many processes see that it is due. `task` is as task_create takes it, with the schedule's id and the due
-- time; a due time that has its task already (a clock that went back) gets no second one. With a `pause_reason`, or when its agent is
-- archived, a schedule is paused instead. Returns transitions.
--
-- Locks: schedules (by id, SKIP LOCKED) -> what task_create locks. Nothing that locks tasks or agents locks schedules after them.
CREATE OR REPLACE FUNCTION schedule_fire(p_fires jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql
SET plan_cache_mode = 'force_generic_plan' AS $$
DECLARE
  v_ids uuid[];
  v_tasks jsonb;
BEGIN
  v_ids := ARRAY(
    SELECT s.id FROM schedule s
      JOIN jsonb_to_recordset(p_fires) AS f (schedule_id uuid, version int) ON f.schedule_id = s.id AND f.version = s.version
     WHERE NOT s.paused
     ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED);

  SELECT jsonb_agg(f.task) INTO v_tasks
    FROM jsonb_to_recordset(p_fires) AS f (schedule_id uuid, task jsonb)
   WHERE f.schedule_id = ANY (v_ids) AND jsonb_typeof(f.task) = 'object'
     AND NOT EXISTS (SELECT 1 FROM task t
                      WHERE t.schedule_id = f.schedule_id AND t.scheduled_for = (f.task ->> 'scheduled_for')::timestamptz);

  UPDATE schedule s SET
    version = s.version + 1, updated_at = clock_timestamp(), paused = f.why IS NOT NULL, paused_reason = f.why,
    next_run_at = CASE WHEN f.why IS NULL THEN f.next_run_at END
    FROM (SELECT d.schedule_id, d.next_run_at,
                 coalesce(d.pause_reason, CASE WHEN a.status = 'ARCHIVED' THEN 'Its agent was archived.' END) AS why
            FROM jsonb_to_recordset(p_fires) AS d (schedule_id uuid, next_run_at timestamptz, pause_reason text)
            JOIN schedule o ON o.id = d.schedule_id JOIN agent a ON a.id = o.agent_id) AS f
   WHERE s.id = f.schedule_id AND s.id = ANY (v_ids);

  IF v_tasks IS NOT NULL THEN RETURN QUERY SELECT task_create(v_tasks); END IF;
END
$$;
