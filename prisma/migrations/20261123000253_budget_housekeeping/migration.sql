-- What was settled, or has expired, long ago says nothing any more: the balances have it.
CREATE INDEX "budget_reservation_over" ON "budget_reservation" ("expires_at") WHERE "settled_at" IS NOT NULL OR "expired_at" IS NOT NULL;
