-- Lets the tasks go on that wait for a budget of their workspace, or of one agent of it: those whose last attempt was given back for want of
-- money. Not a transition: the reconciler queues what is due.
CREATE OR REPLACE FUNCTION budget_wake_tasks(p_workspace_id uuid, p_agent_id uuid) RETURNS int LANGUAGE sql AS $$
  WITH waiting AS (
    SELECT t.id FROM task t
      JOIN task_attempt a ON a.task_id = t.id AND a.number = t.attempt AND a.error_code = 'BUDGET_EXCEEDED'
     WHERE t.workspace_id = p_workspace_id AND t.status = 'SCHEDULED' AND t.run_at > clock_timestamp()
       AND (p_agent_id IS NULL OR t.agent_id = p_agent_id)
     ORDER BY t.id LIMIT 10000 FOR NO KEY UPDATE OF t SKIP LOCKED
  ), woken AS (
    UPDATE task t SET run_at = clock_timestamp() FROM waiting w WHERE t.id = w.id RETURNING 1
  )
  SELECT count(*)::int FROM woken
$$;
