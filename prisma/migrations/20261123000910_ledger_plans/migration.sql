-- The ledger again, in PL/pgSQL: the statements of a function in plain SQL are planned at each call (before PostgreSQL 18), and this one is called with
-- every end of a run. Planned once it takes 0.3 instead of 0.5 ms.
CREATE OR REPLACE FUNCTION record_model_calls(p_calls jsonb) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = 'force_generic_plan' SET enable_seqscan = off AS $$
BEGIN
  INSERT INTO model_attempt (id, task_id, attempt_number, completion_id, model, model_version, outcome, status, message, duration_ms, request_id, at)
  SELECT c.id, c.task_id, c.attempt_number, c.completion_id, c.model, c.model_version, c.outcome, c.status, c.message, c.duration_ms,
         c.request_id, c.at
    FROM jsonb_to_recordset(p_calls) AS c (
      id uuid, task_id uuid, attempt_number int, completion_id uuid, model text, model_version text, outcome text, status int, message text,
      duration_ms float8, request_id text, at timestamptz)
  ON CONFLICT (id) DO NOTHING;

  INSERT INTO usage_record (id, workspace_id, agent_id, user_id, task_id, attempt_number, completion_id, model, input_tokens,
                            cached_input_tokens, output_tokens, reasoning_tokens, estimated, cost_nano_usd, saved_nano_usd, at)
  SELECT c.id, c.workspace_id, c.agent_id, c.user_id, c.task_id, c.attempt_number, c.completion_id, c.model, c.input_tokens,
         c.cached_input_tokens, c.output_tokens, c.reasoning_tokens, c.estimated, c.cost_nano_usd, coalesce(c.saved_nano_usd, 0), c.at
    FROM jsonb_to_recordset(p_calls) AS c (
      id uuid, workspace_id uuid, agent_id uuid, user_id uuid, task_id uuid, attempt_number int, completion_id uuid, model text,
      input_tokens int, cached_input_tokens int, output_tokens int, reasoning_tokens int, estimated boolean, cost_nano_usd bigint,
      saved_nano_usd bigint, at timestamptz)
   WHERE c.input_tokens IS NOT NULL
  ON CONFLICT (id) DO NOTHING;

  -- What was not settled when the call ended: its process could not reach the database, or died in between.
  PERFORM count(*)
    FROM (SELECT p_calls AS calls
           WHERE EXISTS (SELECT 1 FROM jsonb_to_recordset(p_calls) AS c (id uuid) JOIN budget_reservation r ON r.model_attempt_id = c.id
                          WHERE r.settled_at IS NULL)) AS unsettled
   CROSS JOIN LATERAL budget_settle(unsettled.calls);
END
$$;
