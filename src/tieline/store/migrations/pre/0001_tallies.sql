-- The tallies of standing answers follow the entities, statement by statement, in the same transaction.

-- Entities of a connection that have the same answers, and how many more of them there are now.
CREATE TYPE answers_alike AS (org_id uuid, connection_id uuid, outcomes jsonb, step bigint);

CREATE FUNCTION add_to_tallies(moved answers_alike[]) RETURNS void LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO tallies (org_id, connection_id, check_id, outcome, entities)
    SELECT one.org_id, one.connection_id, answer.key, answer.value ->> 0, sum(one.step)
      FROM unnest(moved) AS one, jsonb_each(one.outcomes) AS answer
     GROUP BY 1, 2, 3, 4 HAVING sum(one.step) <> 0
     ORDER BY 1, 2, 3, 4
    ON CONFLICT (org_id, connection_id, check_id, outcome) DO UPDATE SET entities = tallies.entities + excluded.entities
$$;

CREATE FUNCTION tally_answers() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM add_to_tallies(array_agg(one)) FROM (
            SELECT (org_id, connection_id, outcomes, count(*))::answers_alike AS one
              FROM came WHERE removed_at IS NULL AND outcomes <> '{}' GROUP BY org_id, connection_id, outcomes) AS alike;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM add_to_tallies(array_agg(one)) FROM (
            SELECT (org_id, connection_id, outcomes, -count(*))::answers_alike AS one
              FROM went WHERE removed_at IS NULL AND outcomes <> '{}' GROUP BY org_id, connection_id, outcomes) AS alike;
    ELSE
        PERFORM add_to_tallies(array_agg(one)) FROM (
            SELECT (org_id, connection_id, outcomes, sum(step))::answers_alike AS one
              FROM (SELECT org_id, connection_id, outcomes, removed_at, 1 AS step FROM came
                    UNION ALL SELECT org_id, connection_id, outcomes, removed_at, -1 FROM went) AS moved
             WHERE removed_at IS NULL AND outcomes <> '{}'
             GROUP BY org_id, connection_id, outcomes HAVING sum(step) <> 0) AS alike;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER tally_inserted AFTER INSERT ON entities REFERENCING NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION tally_answers();
CREATE TRIGGER tally_updated AFTER UPDATE ON entities REFERENCING OLD TABLE AS went NEW TABLE AS came
    FOR EACH STATEMENT EXECUTE FUNCTION tally_answers();
CREATE TRIGGER tally_deleted AFTER DELETE ON entities REFERENCING OLD TABLE AS went
    FOR EACH STATEMENT EXECUTE FUNCTION tally_answers();
