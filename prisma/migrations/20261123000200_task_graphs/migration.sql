-- DropIndex: the new one below begins with the same column, and reads the dependents of a task in the order of their ids.
DROP INDEX "task_dependency_depends_on_id_idx";

-- AlterTable
ALTER TABLE "task" ADD COLUMN     "dependency_count" INTEGER NOT NULL DEFAULT 0;

-- CreateTable
CREATE TABLE "task_dependents_due" (
    "task_id" UUID NOT NULL,
    "after_id" UUID,

    CONSTRAINT "task_dependents_due_pkey" PRIMARY KEY ("task_id")
);

-- CreateTable
CREATE TABLE "task_graph" (
    "id" UUID NOT NULL,
    "workspace_id" UUID NOT NULL,
    "idempotency_key" TEXT NOT NULL,
    "idempotency_hash" BYTEA NOT NULL,
    "task_ids" UUID[],
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "task_graph_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "task_graph_workspace_id_idempotency_key_key" ON "task_graph"("workspace_id", "idempotency_key");

-- CreateIndex
CREATE INDEX "task_dependency_depends_on_id_task_id_idx" ON "task_dependency"("depends_on_id", "task_id");

-- AddForeignKey
ALTER TABLE "task_dependents_due" ADD CONSTRAINT "task_dependents_due_task_id_fkey" FOREIGN KEY ("task_id") REFERENCES "task"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "task_graph" ADD CONSTRAINT "task_graph_workspace_id_fkey" FOREIGN KEY ("workspace_id") REFERENCES "workspace"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- What follows Prisma's datamodel cannot say.

ALTER TABLE "task_graph" ALTER COLUMN "task_ids" SET NOT NULL;

ALTER TABLE "task"
    ADD CONSTRAINT "task_dependency_count_range" CHECK ("dependency_count" >= 0);

-- For the look at all tasks that are blocked, page by page.
CREATE INDEX "task_blocked" ON "task" ("id") WHERE "status" = 'BLOCKED';
