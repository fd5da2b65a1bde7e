-- The statements of our functions are short and run often: compiling one to machine code (JIT) takes longer than any of them. PostgreSQL does so when it
-- takes a plan to be dear, and a table that has to be read from end to end although that is discouraged (enable_seqscan = off) looks dearer than all else:
-- the reconciler, which read the agents so, spent 60 to 130 ms of each second compiling.
-- CREATE OR REPLACE FUNCTION forgets these settings: a new version of a function says them again
-- (SET plan_cache_mode = 'force_generic_plan' SET enable_seqscan = off SET jit = off).
DO $$
DECLARE
  v_function regprocedure;
BEGIN
  FOR v_function IN
    SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace = current_schema()::regnamespace AND l.lanname = 'plpgsql' AND p.prorettype <> 'trigger'::regtype
  LOOP
    EXECUTE format('ALTER FUNCTION %s SET jit = off', v_function);
  END LOOP;
END
$$;

-- What the reconciler reads the agents by.
CREATE INDEX "agent_archived" ON "agent" ("id") WHERE "status" = 'ARCHIVED';
