-- The tallies of runs follow the runs, in the transaction that ends one.
CREATE FUNCTION tally_run() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO run_tallies AS tally (org_id, connection_id, operation, outcome, provider, runs,
                                      created, changed, unchanged, removed, skipped, rejected, unidentified)
    VALUES (NEW.org_id, NEW.connection_id, NEW.operation, NEW.status, NEW.provider, 1,
            NEW.created, NEW.changed, NEW.unchanged, NEW.removed, NEW.skipped, NEW.rejected, NEW.unidentified)
    ON CONFLICT (org_id, connection_id, operation, outcome) DO UPDATE
       SET runs = tally.runs + 1, created = tally.created + excluded.created, changed = tally.changed + excluded.changed,
           unchanged = tally.unchanged + excluded.unchanged, removed = tally.removed + excluded.removed,
           skipped = tally.skipped + excluded.skipped, rejected = tally.rejected + excluded.rejected,
           unidentified = tally.unidentified + excluded.unidentified;
    RETURN NULL;
END $$;

CREATE TRIGGER tally_ended AFTER UPDATE OF finished_at ON runs FOR EACH ROW
    WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tally_run();
