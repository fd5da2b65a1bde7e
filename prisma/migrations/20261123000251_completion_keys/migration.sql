-- When somebody last listened to a completion with a key, or began to: one that nobody listens to is aborted after a while.
ALTER TABLE "completion" ADD COLUMN "wanted_at" TIMESTAMPTZ(3);
