-- Whether the process takes tasks at the moment: a worker that is short of memory, or that is being shut down, lives and claims none.
ALTER TABLE "process" ADD COLUMN "claiming" BOOLEAN NOT NULL DEFAULT false;
