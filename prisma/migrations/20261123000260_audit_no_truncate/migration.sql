-- TRUNCATE fires no DELETE trigger: it would have emptied the audit trail unnoticed.
CREATE TRIGGER "audit_event_no_truncate" BEFORE TRUNCATE ON "audit_event"
    FOR EACH STATEMENT EXECUTE FUNCTION "audit_event_refuse_change"();
