-- Budgets: money is reserved before a model is called, and settled by what the call has cost.
--
-- Locks: balances by (budget, period), before everything else that a transaction locks. Who reserves holds them for one statement, so calls
-- made at once see each other: together they never reserve more than a hard budget has.
--
-- A reservation is live until it is settled or has expired. What a crash leaves behind expires by itself; should the call be settled after that
-- (its process was only slow), what it has cost is counted all the same.

-- Set when its amount was given back because nobody had settled it in time.
ALTER TABLE "budget_reservation" ADD COLUMN "expired_at" TIMESTAMPTZ(3);

CREATE INDEX "budget_reservation_live" ON "budget_reservation" ("budget_id", "period_start", "expires_at")
    WHERE "settled_at" IS NULL AND "expired_at" IS NULL;

-- The UTC start of the period that a moment is in; the epoch for TOTAL.
CREATE FUNCTION budget_period_start(p_period budget_period, p_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT CASE p_period WHEN 'DAY' THEN date_trunc('day', p_at, 'UTC') WHEN 'MONTH' THEN date_trunc('month', p_at, 'UTC')
                       ELSE to_timestamp(0) END
$$;

-- When the period that a moment is in ends; null for TOTAL, which never does.
CREATE FUNCTION budget_period_end(p_period budget_period, p_at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT CASE p_period
           WHEN 'DAY' THEN ((p_at AT TIME ZONE 'UTC')::date + 1)::timestamp AT TIME ZONE 'UTC'
           WHEN 'MONTH' THEN (date_trunc('month', p_at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
         END
$$;

-- Fires an alert for each threshold that a budget's spending has passed: it was below p_before, and is not below p_after. Returns the alerts.
CREATE FUNCTION budget_alert(p_budget_id uuid, p_before bigint, p_after bigint) RETURNS SETOF jsonb LANGUAGE sql AS $$
  WITH passed AS (
    SELECT b.id, b.workspace_id, b.agent_id, b.period, b.limit_nano_usd, t.percent
      FROM budget b CROSS JOIN unnest(ARRAY[50, 80, 100]) AS t (percent)
     WHERE b.id = p_budget_id
       AND p_before::numeric * 100 < b.limit_nano_usd::numeric * t.percent AND p_after::numeric * 100 >= b.limit_nano_usd::numeric * t.percent
  ), fired AS (
    INSERT INTO alert (id, rule, state, message, value, threshold, fired_at)
    SELECT gen_random_uuid(), 'budget:' || id || ':' || percent, 'FIRING',
           'A budget (' || period || ') has spent ' || percent || ' % of its limit.',
           p_after / 1e9, limit_nano_usd / 1e9 * percent / 100, clock_timestamp()
      FROM passed
    ON CONFLICT (rule) WHERE state = 'FIRING' DO UPDATE SET value = EXCLUDED.value, threshold = EXCLUDED.threshold, fired_at = EXCLUDED.fired_at
  )
  SELECT jsonb_build_object('budgetId', id, 'workspaceId', workspace_id, 'agentId', agent_id, 'period', period, 'percent', percent)
    FROM passed ORDER BY percent
$$;

-- Resolves the alerts of a budget that its spending does not reach (any more).
CREATE FUNCTION budget_resolve_alerts(p_budget_id uuid, p_spent bigint, p_limit bigint) RETURNS void LANGUAGE sql AS $$
  UPDATE alert SET state = 'RESOLVED', resolved_at = clock_timestamp()
   WHERE state = 'FIRING' AND rule IN (SELECT 'budget:' || p_budget_id || ':' || t FROM unnest(ARRAY[50, 80, 100]) AS t
                                        WHERE p_spent::numeric * 100 < p_limit::numeric * t)
$$;

-- Makes the balances of a new period, and resolves the alerts of the one before.
CREATE FUNCTION budget_open_periods(p_workspace_id uuid, p_agent_id uuid, p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_opened uuid[];
BEGIN
  WITH opened AS (
    INSERT INTO budget_balance (budget_id, period_start)
    SELECT b.id, budget_period_start(b.period, p_now)
      FROM budget b
     WHERE b.workspace_id = p_workspace_id AND (b.agent_id IS NULL OR b.agent_id = p_agent_id)
       AND NOT EXISTS (SELECT 1 FROM budget_balance l WHERE l.budget_id = b.id AND l.period_start = budget_period_start(b.period, p_now))
     ORDER BY b.id
    ON CONFLICT DO NOTHING
    RETURNING budget_id
  )
  SELECT array_agg(budget_id) INTO v_opened FROM opened;
  PERFORM budget_resolve_alerts(b.id, 0, b.limit_nano_usd) FROM budget b WHERE b.id = ANY (v_opened);
EXCEPTION WHEN foreign_key_violation THEN
  -- A budget was deleted meanwhile: the next statement does not see it.
  NULL;
END
$$;

-- Reserves p_amount (null: what the call may cost is not known) in all budgets of the workspace and the agent, or in none. Returns
--   {"outcome": "none"}                      no budget applies
--   {"outcome": "reserved", "hard": …}       hard: at least one of them refuses what is too much
--   {"outcome": "refused", "budgetId", "period", "limitNanoUsd", "spentNanoUsd", "reservedNanoUsd", "why": "price_unknown" | "too_large" | "spent"
--    | "reserved", "freesInMs": when to try again; null: that will not help}
-- Safe to repeat.
CREATE FUNCTION budget_reserve(p_attempt_id uuid, p_workspace_id uuid, p_agent_id uuid, p_amount bigint, p_ttl_ms float8)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_ids uuid[];
  v_hard boolean;
  v_refusal jsonb;
BEGIN
  PERFORM 1 FROM budget b
    WHERE b.workspace_id = p_workspace_id AND (b.agent_id IS NULL OR b.agent_id = p_agent_id)
      AND NOT EXISTS (SELECT 1 FROM budget_balance l WHERE l.budget_id = b.id AND l.period_start = budget_period_start(b.period, v_now));
  IF FOUND THEN PERFORM budget_open_periods(p_workspace_id, p_agent_id, v_now); END IF;

  -- Locked first and read in the next statement, which sees what was committed while this one waited.
  SELECT array_agg(locked.budget_id) INTO v_ids FROM (
    SELECT l.budget_id
      FROM budget_balance l JOIN budget b ON b.id = l.budget_id AND l.period_start = budget_period_start(b.period, v_now)
     WHERE b.workspace_id = p_workspace_id AND (b.agent_id IS NULL OR b.agent_id = p_agent_id)
     ORDER BY l.budget_id, l.period_start FOR NO KEY UPDATE OF l) AS locked;
  IF v_ids IS NULL THEN RETURN '{"outcome": "none"}'; END IF;
  SELECT bool_or(hard) INTO v_hard FROM budget WHERE id = ANY (v_ids);
  IF EXISTS (SELECT 1 FROM budget_reservation WHERE model_attempt_id = p_attempt_id) THEN
    RETURN jsonb_build_object('outcome', 'reserved', 'hard', v_hard);
  END IF;

  WITH gone AS (
    UPDATE budget_reservation r SET expired_at = v_now
      FROM budget b
     WHERE b.id = ANY (v_ids) AND r.budget_id = b.id AND r.period_start = budget_period_start(b.period, v_now)
       AND r.settled_at IS NULL AND r.expired_at IS NULL AND r.expires_at <= v_now
    RETURNING r.budget_id, r.period_start, r.amount_nano_usd
  )
  UPDATE budget_balance l SET reserved_nano_usd = l.reserved_nano_usd - g.amount
    FROM (SELECT budget_id, period_start, sum(amount_nano_usd)::bigint AS amount FROM gone GROUP BY budget_id, period_start) g
   WHERE l.budget_id = g.budget_id AND l.period_start = g.period_start;

  -- Of several the one that frees up last is told.
  SELECT to_jsonb(r) - 'rank' || '{"outcome": "refused"}' INTO v_refusal
    FROM (SELECT b.id AS "budgetId", b.period, b.limit_nano_usd AS "limitNanoUsd", l.spent_nano_usd AS "spentNanoUsd",
                 l.reserved_nano_usd AS "reservedNanoUsd",
                 CASE WHEN p_amount IS NULL THEN 'price_unknown'
                      WHEN p_amount > b.limit_nano_usd THEN 'too_large'
                      WHEN l.spent_nano_usd + p_amount > b.limit_nano_usd THEN 'spent'
                      ELSE 'reserved' END AS why,
                 CASE WHEN p_amount IS NULL OR p_amount > b.limit_nano_usd THEN NULL
                      -- Other calls hold what is lacking, and most of them will use less of it.
                      WHEN l.spent_nano_usd + p_amount <= b.limit_nano_usd THEN 1000
                      ELSE ceil(extract(epoch FROM budget_period_end(b.period, v_now) - v_now) * 1000) END AS "freesInMs"
            FROM budget b JOIN budget_balance l ON l.budget_id = b.id AND l.period_start = budget_period_start(b.period, v_now)
           WHERE b.id = ANY (v_ids) AND b.hard
             AND (p_amount IS NULL OR l.spent_nano_usd::numeric + l.reserved_nano_usd + p_amount > b.limit_nano_usd)) r
   ORDER BY r."freesInMs" DESC NULLS FIRST LIMIT 1;
  IF v_refusal IS NOT NULL THEN RETURN v_refusal; END IF;

  WITH taken AS (
    INSERT INTO budget_reservation (model_attempt_id, budget_id, period_start, amount_nano_usd, expires_at)
    SELECT p_attempt_id, b.id, budget_period_start(b.period, v_now), coalesce(p_amount, 0), v_now + p_ttl_ms * interval '1 millisecond'
      FROM budget b WHERE b.id = ANY (v_ids)
    RETURNING budget_id, period_start, amount_nano_usd
  )
  UPDATE budget_balance l SET reserved_nano_usd = l.reserved_nano_usd + t.amount_nano_usd
    FROM taken t WHERE l.budget_id = t.budget_id AND l.period_start = t.period_start;
  RETURN jsonb_build_object('outcome', 'reserved', 'hard', v_hard);
END
$$;

-- Reserves for several calls made at once, in the order given: an array of {"attempt_id", "workspace_id", "agent_id", "amount_nano_usd", "ttl_ms"}.
-- Returns what budget_reserve does for each. All balances are locked first, in their order, or two of these could wait for each other.
CREATE FUNCTION budget_reserve_all(p_calls jsonb) RETURNS TABLE (reservation jsonb) LANGUAGE plpgsql AS $$
DECLARE
  v_call record;
BEGIN
  IF jsonb_array_length(p_calls) > 1 THEN
    PERFORM 1 FROM budget_balance l JOIN budget b ON b.id = l.budget_id AND l.period_start = budget_period_start(b.period, clock_timestamp())
      WHERE b.id IN (SELECT b.id FROM jsonb_to_recordset(p_calls) AS c (workspace_id uuid, agent_id uuid)
                       JOIN budget b ON b.workspace_id = c.workspace_id AND (b.agent_id IS NULL OR b.agent_id = c.agent_id))
      ORDER BY l.budget_id, l.period_start FOR NO KEY UPDATE OF l;
  END IF;
  FOR v_call IN
    SELECT c.* FROM ROWS FROM (jsonb_to_recordset(p_calls) AS (attempt_id uuid, workspace_id uuid, agent_id uuid, amount_nano_usd bigint, ttl_ms float8))
      WITH ORDINALITY AS c (attempt_id, workspace_id, agent_id, amount_nano_usd, ttl_ms, position) ORDER BY c.position
  LOOP
    reservation := budget_reserve(v_call.attempt_id, v_call.workspace_id, v_call.agent_id, v_call.amount_nano_usd, v_call.ttl_ms);
    RETURN NEXT;
  END LOOP;
END
$$;

-- Settles reservations by what their attempts have cost (0: nothing, they are released), once each. Takes an array of {"id", "cost_nano_usd"},
-- returns the alerts that this has fired. What has no reservation is passed over.
CREATE FUNCTION budget_settle(p_settlements jsonb) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_changed record;
BEGIN
  PERFORM 1 FROM budget_balance l
    WHERE (l.budget_id, l.period_start) IN (
            SELECT r.budget_id, r.period_start
              FROM jsonb_to_recordset(p_settlements) AS s (id uuid) JOIN budget_reservation r ON r.model_attempt_id = s.id
             WHERE r.settled_at IS NULL)
    ORDER BY l.budget_id, l.period_start FOR NO KEY UPDATE;
  IF NOT FOUND THEN RETURN; END IF;

  FOR v_changed IN
    WITH settled AS (
      UPDATE budget_reservation r SET settled_at = clock_timestamp()
        FROM jsonb_to_recordset(p_settlements) AS s (id uuid, cost_nano_usd bigint)
       WHERE r.model_attempt_id = s.id AND r.settled_at IS NULL
      RETURNING r.budget_id, r.period_start, coalesce(s.cost_nano_usd, 0) AS cost,
                CASE WHEN r.expired_at IS NULL THEN r.amount_nano_usd ELSE 0 END AS held
    )
    UPDATE budget_balance l SET spent_nano_usd = l.spent_nano_usd + s.cost, reserved_nano_usd = l.reserved_nano_usd - s.held
      FROM (SELECT budget_id, period_start, sum(cost)::bigint AS cost, sum(held)::bigint AS held FROM settled GROUP BY budget_id, period_start) s
     WHERE l.budget_id = s.budget_id AND l.period_start = s.period_start
    RETURNING l.budget_id, l.spent_nano_usd - s.cost AS before, l.spent_nano_usd AS after
  LOOP
    RETURN QUERY SELECT budget_alert(v_changed.budget_id, v_changed.before, v_changed.after);
  END LOOP;
END
$$;

-- Lets the tasks go on that wait for a budget of their workspace, or of one agent of it. Not a transition: the reconciler queues what is due.
CREATE FUNCTION budget_wake_tasks(p_workspace_id uuid, p_agent_id uuid) RETURNS int LANGUAGE sql AS $$
  WITH waiting AS (
    SELECT id FROM task
     WHERE workspace_id = p_workspace_id AND status = 'SCHEDULED' AND error_code = 'BUDGET_EXCEEDED' AND run_at > clock_timestamp()
       AND (p_agent_id IS NULL OR agent_id = p_agent_id)
     ORDER BY id LIMIT 10000 FOR NO KEY UPDATE SKIP LOCKED
  ), woken AS (
    UPDATE task t SET run_at = clock_timestamp() FROM waiting w WHERE t.id = w.id RETURNING 1
  )
  SELECT count(*)::int FROM woken
$$;

-- Makes a budget, or changes the one of its workspace or agent and period. A new one begins with what the ledger has of the period.
CREATE FUNCTION budget_set(p_id uuid, p_workspace_id uuid, p_agent_id uuid, p_period budget_period, p_limit bigint, p_hard boolean)
RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  v_id uuid;
  v_start timestamptz := budget_period_start(p_period, clock_timestamp());
  v_spent bigint;
BEGIN
  IF p_agent_id IS NULL THEN
    INSERT INTO budget (id, workspace_id, period, limit_nano_usd, hard) VALUES (p_id, p_workspace_id, p_period, p_limit, p_hard)
    ON CONFLICT (workspace_id, period) WHERE agent_id IS NULL DO UPDATE SET limit_nano_usd = EXCLUDED.limit_nano_usd, hard = EXCLUDED.hard
    RETURNING id INTO v_id;
  ELSE
    INSERT INTO budget (id, workspace_id, agent_id, period, limit_nano_usd, hard)
    VALUES (p_id, p_workspace_id, p_agent_id, p_period, p_limit, p_hard)
    ON CONFLICT (agent_id, period) WHERE agent_id IS NOT NULL DO UPDATE SET limit_nano_usd = EXCLUDED.limit_nano_usd, hard = EXCLUDED.hard
    RETURNING id INTO v_id;
  END IF;
  IF v_id = p_id THEN
    INSERT INTO budget_balance (budget_id, period_start, spent_nano_usd)
    SELECT v_id, v_start, coalesce(sum(cost_nano_usd), 0)
      FROM usage_record
     WHERE workspace_id = p_workspace_id AND at >= v_start AND (p_agent_id IS NULL OR agent_id = p_agent_id);
  END IF;
  SELECT spent_nano_usd INTO v_spent FROM budget_balance WHERE budget_id = v_id AND period_start = v_start;
  PERFORM budget_resolve_alerts(v_id, coalesce(v_spent, 0), p_limit);
  PERFORM budget_alert(v_id, -1, coalesce(v_spent, 0));
  PERFORM budget_wake_tasks(p_workspace_id, p_agent_id);
  RETURN v_id;
END
$$;

-- The ledger again, now with what the cache has saved, and settling what was not settled when the call ended (its process could not reach
-- the database, or died in between): what is in the ledger is in the budgets.
CREATE OR REPLACE FUNCTION record_model_calls(p_calls jsonb) RETURNS void LANGUAGE sql AS $$
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

  SELECT count(*)
    FROM (SELECT p_calls AS calls
           WHERE EXISTS (SELECT 1 FROM jsonb_to_recordset(p_calls) AS c (id uuid) JOIN budget_reservation r ON r.model_attempt_id = c.id
                          WHERE r.settled_at IS NULL)) AS unsettled
   CROSS JOIN LATERAL budget_settle(unsettled.calls);
$$;
