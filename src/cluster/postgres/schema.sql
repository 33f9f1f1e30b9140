-- The tables of a log, first version. docs/postgres.md explains them to those who query them.

CREATE TABLE {schema}.meta (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version integer NOT NULL,
    log uuid NOT NULL,
    id_key bytea NOT NULL,
    first_kept bigint NOT NULL DEFAULT 1,
    last_deleted bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE {schema}.meta IS 'One row: which log this is. id_key is a secret.';
COMMENT ON COLUMN {schema}.meta.first_kept IS 'Retention has deleted every event before this offset.';
COMMENT ON COLUMN {schema}.meta.last_deleted IS 'The highest offset that was deleted while it was the newest: no offset is given twice.';

CREATE TABLE {schema}.events (
    log_offset bigint PRIMARY KEY,
    tag integer NOT NULL,
    published_at timestamptz NOT NULL,
    topics text[] NOT NULL,
    data text,
    data_bytes bytea,
    private boolean NOT NULL,
    announcement boolean NOT NULL,
    id text,
    type text,
    retry text,
    bytes bigint NOT NULL,
    bytes_upto bigint NOT NULL,
    CONSTRAINT data_is_text_or_bytes CHECK ((data IS NULL) <> (data_bytes IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE {schema}.events IS 'What was published, in order. To read, not to write.';
-- Of every length, and the earliest event with an id comes first.
CREATE INDEX events_id ON {schema}.events (hashtextextended(id, 0), log_offset) WHERE id IS NOT NULL;

CREATE TABLE {schema}.nodes (
    id uuid PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    claimed_by uuid,
    claimed_until timestamptz
);
COMMENT ON TABLE {schema}.nodes IS 'The hubs that live, and those that were claimed: they are dead, and their end is being told.';

CREATE TABLE {schema}.subscribers (
    node uuid NOT NULL REFERENCES {schema}.nodes,
    id text NOT NULL,
    document text NOT NULL,
    PRIMARY KEY (node, id)
);
COMMENT ON TABLE {schema}.subscribers IS 'Who is subscribed at which hub.';
CREATE INDEX subscribers_id ON {schema}.subscribers (id);

CREATE TABLE {schema}.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topics text[] NOT NULL,
    data text,
    private boolean NOT NULL DEFAULT false,
    event_id text,
    event_type text,
    retry bigint,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE {schema}.outbox IS 'What applications insert here is published once it is committed.';

CREATE TABLE {schema}.outbox_refused (
    id bigint PRIMARY KEY,
    topics text[] NOT NULL,
    data text,
    private boolean NOT NULL,
    event_id text,
    event_type text,
    retry bigint,
    created_at timestamptz NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL
);
COMMENT ON TABLE {schema}.outbox_refused IS 'Rows of the outbox that can not be published, with the reason.';

-- Offsets are given while the lock is held, which ends with the transaction: the order of commits is that of offsets.
-- The offset before the first one given, and how long the log is then; nothing if the log is another one.
CREATE FUNCTION {schema}.append(
    of_log uuid, stamps timestamptz[], tags integer[], topic_lists text[], texts text[], blobs bytea[],
    privates boolean[], announcements boolean[], ids text[], types text[], retries text[]
) RETURNS TABLE (before bigint, kept bigint, kept_bytes bigint, oldest_age_ms bigint) LANGUAGE plpgsql AS $cinnabar$
DECLARE
    old record;
    last_offset bigint;
    last_bytes bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended({text}, 1));
    SELECT greatest(m.last_deleted, coalesce(newest.log_offset, 0)) AS last, coalesce(newest.bytes_upto, 0) AS bytes_upto, m.first_kept
        INTO old
        FROM {schema}.meta m
        LEFT JOIN LATERAL (
            SELECT e.log_offset, e.bytes_upto FROM {schema}.events e ORDER BY e.log_offset DESC LIMIT 1
        ) newest ON true
        WHERE m.log = of_log;
    IF old IS NULL THEN
        RETURN;
    END IF;
    WITH written AS (
        INSERT INTO {schema}.events AS e
        SELECT old.last + w.place, w.tag, w.stamp, w.topics, w.data, w.data_bytes, w.private, w.announcement, w.id, w.type,
               w.retry, w.bytes, old.bytes_upto + sum(w.bytes) OVER (ORDER BY w.place)
        FROM (
            SELECT u.place, u.tag, u.stamp, u.topics::text[] AS topics, u.data, u.data_bytes, u.private, u.announcement, u.id, u.type,
                   u.retry,
                   coalesce(octet_length(u.data), octet_length(u.data_bytes))::bigint
                       + octet_length(array_to_string(u.topics::text[], ''))
                       + coalesce(octet_length(u.id), 0) + coalesce(octet_length(u.type), 0) AS bytes
            FROM unnest(stamps, tags, topic_lists, texts, blobs, privates, announcements, ids, types, retries)
                WITH ORDINALITY
                AS u (stamp, tag, topics, data, data_bytes, private, announcement, id, type, retry, place)
        ) w
        RETURNING e.log_offset, e.bytes_upto
    )
    SELECT max(w.log_offset), max(w.bytes_upto) INTO last_offset, last_bytes FROM written w;
    SELECT last_offset - e.log_offset + 1, last_bytes - e.bytes_upto + e.bytes,
           (extract(epoch FROM clock_timestamp() - e.published_at) * 1000)::bigint
        INTO kept, kept_bytes, oldest_age_ms
        FROM {schema}.events e WHERE e.log_offset >= old.first_kept ORDER BY e.log_offset LIMIT 1;
    before := old.last;
    PERFORM pg_notify({text}, '');
    RETURN NEXT;
END
$cinnabar$;

-- Deletes a piece of what is too much: how many events, or -1 while somebody else is at it. The newest one is only ever too old.
CREATE FUNCTION {schema}.trim(of_log uuid, events_max bigint, bytes_max bigint, age_max interval, piece integer)
RETURNS bigint LANGUAGE plpgsql AS $cinnabar$
DECLARE
    kept_from bigint;
    newest record;
    cut bigint;
    deleted bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended({text}, 2)) THEN
        RETURN -1;
    END IF;
    SELECT m.first_kept INTO kept_from FROM {schema}.meta m WHERE m.log = of_log;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT e.log_offset, e.bytes_upto INTO newest FROM {schema}.events e ORDER BY e.log_offset DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT coalesce(
            min(p.log_offset) FILTER (WHERE
                (p.log_offset = newest.log_offset
                    OR (p.log_offset > newest.log_offset - events_max
                        AND newest.bytes_upto - p.bytes_upto + p.bytes <= bytes_max))
                AND (age_max IS NULL OR p.published_at >= clock_timestamp() - age_max)),
            max(p.log_offset) + 1)
        INTO cut
        FROM (
            SELECT e.log_offset, e.bytes, e.bytes_upto, e.published_at FROM {schema}.events e
            WHERE e.log_offset >= kept_from ORDER BY e.log_offset LIMIT piece
        ) p;
    DELETE FROM {schema}.events e WHERE e.log_offset >= kept_from AND e.log_offset < cut;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF deleted > 0 THEN
        UPDATE {schema}.meta SET first_kept = cut;
    END IF;
    RETURN deleted;
END
$cinnabar$;

-- Whoever deletes the newest event, by hand too: its offset stays given.
CREATE FUNCTION {schema}.note_deleted() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $cinnabar$
DECLARE
    gone bigint;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        SELECT max(e.log_offset) INTO gone FROM {schema}.events e;
    ELSE
        SELECT max(d.log_offset) INTO gone FROM deleted d;
        IF EXISTS (SELECT FROM {schema}.events e WHERE e.log_offset > gone) THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE {schema}.meta SET last_deleted = gone WHERE last_deleted < gone;
    RETURN NULL;
END
$cinnabar$;
CREATE TRIGGER note_deleted AFTER DELETE ON {schema}.events
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION {schema}.note_deleted();
CREATE TRIGGER note_truncated BEFORE TRUNCATE ON {schema}.events
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.note_deleted();

CREATE FUNCTION {schema}.wake_relay() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $cinnabar$
BEGIN
    PERFORM pg_notify({outbox_text}, '');
    RETURN NULL;
END
$cinnabar$;
CREATE TRIGGER wake_relay AFTER INSERT ON {schema}.outbox FOR EACH STATEMENT EXECUTE FUNCTION {schema}.wake_relay();

-- Moves rows of the outbox that are as they were when they were judged: into events, or aside. How many; nothing if the log is another one.
CREATE FUNCTION {schema}.relay(
    of_log uuid, good bigint[], good_versions text[], bad bigint[], bad_versions text[], reasons text[]
) RETURNS TABLE (published bigint, refused bigint, kept bigint, kept_bytes bigint, oldest_age_ms bigint) LANGUAGE plpgsql AS $cinnabar$
DECLARE
    batch record;
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.meta m WHERE m.log = of_log) THEN
        RETURN;
    END IF;
    WITH locked AS MATERIALIZED (
        SELECT o.id, w.reason FROM {schema}.outbox o JOIN unnest(bad, bad_versions, reasons) AS w (id, version, reason)
            ON o.id = w.id AND o.xmin::text = w.version
        FOR UPDATE OF o SKIP LOCKED
    ), taken AS (
        DELETE FROM {schema}.outbox o USING locked l WHERE o.id = l.id RETURNING o.*, l.reason
    )
    INSERT INTO {schema}.outbox_refused (id, topics, data, private, event_id, event_type, retry, created_at, reason)
        SELECT t.id, t.topics, t.data, t.private, t.event_id, t.event_type, t.retry, t.created_at, t.reason FROM taken t;
    GET DIAGNOSTICS refused = ROW_COUNT;
    WITH locked AS MATERIALIZED (
        SELECT o.id FROM {schema}.outbox o JOIN unnest(good, good_versions) AS w (id, version)
            ON o.id = w.id AND o.xmin::text = w.version
        FOR UPDATE OF o SKIP LOCKED
    ), taken AS (
        DELETE FROM {schema}.outbox o USING locked l WHERE o.id = l.id
        RETURNING o.*, ARRAY(SELECT u.topic FROM unnest(o.topics) WITH ORDINALITY AS u (topic, place) ORDER BY u.place) AS flat
    )
    SELECT count(*) AS rows,
           array_agg(date_trunc('milliseconds', clock_timestamp())) AS stamps,
           array_agg(floor(random() * 4194304)::integer) AS tags,
           array_agg(t.flat::text ORDER BY t.id) AS topic_lists,
           array_agg(coalesce(t.data, '') ORDER BY t.id) AS texts,
           array_agg(NULL::bytea) AS blobs,
           array_agg(t.private ORDER BY t.id) AS privates,
           array_agg(false) AS announcements,
           array_agg(nullif(t.event_id, '') ORDER BY t.id) AS ids,
           array_agg(nullif(t.event_type, '') ORDER BY t.id) AS types,
           array_agg(t.retry::text ORDER BY t.id) AS retries
        INTO batch FROM taken t;
    published := batch.rows;
    IF published > 0 THEN
        SELECT a.kept, a.kept_bytes, a.oldest_age_ms INTO kept, kept_bytes, oldest_age_ms FROM {schema}.append(of_log, batch.stamps, batch.tags, batch.topic_lists, batch.texts, batch.blobs, batch.privates,
            batch.announcements, batch.ids, batch.types, batch.retries) a;
    END IF;
    RETURN NEXT;
END
$cinnabar$;
