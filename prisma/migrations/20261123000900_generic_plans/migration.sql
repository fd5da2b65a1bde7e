-- The statements of our functions are planned once per connection, not at each call: their plans do not depend on what they are called with,
-- because everything is found by id or by an index of its own. PostgreSQL would plan them anew each time, for it takes arrays of unknown
-- length for expensive; that was half of the processor time of a step on a server, and a third on the embedded database.
-- A plan that was made while a table was small must not read all of it when it has grown: nothing analyses the embedded database's tables, which is
-- what makes a server plan anew. So no table is read from end to end where an index can be searched.
-- CREATE OR REPLACE FUNCTION forgets these settings: a new version of a function says them again
-- (SET plan_cache_mode = 'force_generic_plan' SET enable_seqscan = off).
DO $$
DECLARE
  v_function regprocedure;
BEGIN
  FOR v_function IN
    SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace = current_schema()::regnamespace AND l.lanname = 'plpgsql' AND p.prorettype <> 'trigger'::regtype
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = %L', v_function, 'force_generic_plan');
    EXECUTE format('ALTER FUNCTION %s SET enable_seqscan = off', v_function);
  END LOOP;
END
$$;
