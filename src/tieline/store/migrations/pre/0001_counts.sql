-- The counts of present entities follow the entities, statement by statement, in the same transaction.
CREATE FUNCTION count_entities() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO entity_counts AS counted (org_id, connection_id, kind, status, verdict, entities)
        SELECT org_id, connection_id, kind, status, verdict, sum(step)
          FROM (SELECT org_id, connection_id, kind, status, verdict, removed_at, 1 AS step FROM came
                UNION ALL SELECT org_id, connection_id, kind, status, verdict, removed_at, -1 FROM went) AS moved
         WHERE removed_at IS NULL GROUP BY 1, 2, 3, 4, 5 HAVING sum(step) <> 0 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (org_id, connection_id, kind, status, verdict)
        DO UPDATE SET entities = counted.entities + excluded.entities;
    ELSE
        INSERT INTO entity_counts AS counted (org_id, connection_id, kind, status, verdict, entities)
        SELECT org_id, connection_id, kind, status, verdict, CASE TG_OP WHEN 'INSERT' THEN count(*) ELSE -count(*) END
          FROM moved WHERE removed_at IS NULL GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (org_id, connection_id, kind, status, verdict)
        DO UPDATE SET entities = counted.entities + excluded.entities;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER count_inserted AFTER INSERT ON entities REFERENCING NEW TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION count_entities();
CREATE TRIGGER count_updated AFTER UPDATE ON entities REFERENCING OLD TABLE AS went NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION count_entities();
CREATE TRIGGER count_deleted AFTER DELETE ON entities REFERENCING OLD TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION count_entities();

-- The counts of findings follow the findings likewise.
CREATE FUNCTION count_findings() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO finding_counts AS counted (org_id, connection_id, check_id, kind, severity, status, owner_id, findings)
        SELECT org_id, connection_id, check_id, kind, severity, status, owner_id, sum(step)
          FROM (SELECT org_id, connection_id, check_id, kind, severity, status, owner_id, 1 AS step FROM came
                UNION ALL SELECT org_id, connection_id, check_id, kind, severity, status, owner_id, -1 FROM went) AS moved
         GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING sum(step) <> 0 ORDER BY 1, 2, 3, 4, 5, 6, 7
        ON CONFLICT (org_id, connection_id, check_id, kind, severity, status, owner_id)
        DO UPDATE SET findings = counted.findings + excluded.findings;
    ELSE
        INSERT INTO finding_counts AS counted (org_id, connection_id, check_id, kind, severity, status, owner_id, findings)
        SELECT org_id, connection_id, check_id, kind, severity, status, owner_id,
               CASE TG_OP WHEN 'INSERT' THEN count(*) ELSE -count(*) END
          FROM moved GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7
        ON CONFLICT (org_id, connection_id, check_id, kind, severity, status, owner_id)
        DO UPDATE SET findings = counted.findings + excluded.findings;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER count_inserted AFTER INSERT ON findings REFERENCING NEW TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION count_findings();
CREATE TRIGGER count_updated AFTER UPDATE ON findings REFERENCING OLD TABLE AS went NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION count_findings();
CREATE TRIGGER count_deleted AFTER DELETE ON findings REFERENCING OLD TABLE AS moved
    FOR EACH STATEMENT EXECUTE FUNCTION count_findings();
