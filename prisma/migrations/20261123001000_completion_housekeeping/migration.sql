-- What finds completions that are over for long; those of a process that was lost are still RUNNING. Neither column changes while one runs, so
-- keeping its lease stays an update within the page.
CREATE INDEX "completion_finished" ON "completion" ("finished_at") WHERE "finished_at" IS NOT NULL;
CREATE INDEX "completion_running" ON "completion" ("created_at") WHERE "status" = 'RUNNING';
