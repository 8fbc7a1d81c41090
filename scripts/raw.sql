-- The raw schema and the loader's ledger. bin/ingest runs this at every start, so each statement can be repeated.
-- The landing tables themselves (raw.<feed>__<entity>) are made from the declared sources, by scripts/ingest.py.

create schema if not exists raw;
comment on schema raw is 'What was delivered, as text, with the batch and the line of every row. Written by bin/ingest only.';

create table if not exists raw._batches (
    batch_id bigint primary key,
    feed text not null,
    entity text not null,
    path text not null,
    sha256 text,
    bytes bigint,
    rows_read bigint not null default 0,
    rows_loaded bigint not null default 0,
    rows_rejected bigint not null default 0,
    first_row_id bigint,
    numbered_by text not null default 'line' check (numbered_by in ('line', 'element')),
    status text not null check (status in ('loaded', 'failed', 'replaced')),
    error text,
    replaced_by_batch_id bigint references raw._batches (batch_id) deferrable initially deferred,
    started_at timestamptz not null,
    finished_at timestamptz not null default clock_timestamp(),
    constraint every_row_is_loaded_or_rejected check (rows_read = rows_loaded + rows_rejected),
    constraint failed_batches_have_an_error_and_no_rows check ((status = 'failed') = (error is not null) and (status <> 'failed' or rows_read = 0)),
    constraint landed_batches_have_bytes_and_ids check (status = 'failed' or num_nulls(sha256, bytes, first_row_id) = 0),
    constraint replaced_batches_name_their_successor check ((status = 'replaced') = (replaced_by_batch_id is not null))
);

-- The ledger's promise, held by the database as well: one batch in use per file.
create unique index if not exists _batches_one_per_file on raw._batches (feed, entity, path) where status = 'loaded';

comment on table raw._batches is 'One row per attempt to load a landing file.';
comment on column raw._batches.batch_id is 'Number of the batch. Batches commit in the order of their numbers.';
comment on column raw._batches.feed is 'Folder of the feed, which is the name of its dbt source.';
comment on column raw._batches.entity is 'Name of the entity, which is the name of its table in the dbt source.';
comment on column raw._batches.path is 'Path of the file below the data root.';
comment on column raw._batches.sha256 is 'SHA-256 of the file''s bytes as delivered (before gunzip), in hexadecimal digits.';
comment on column raw._batches.bytes is 'Size of the file as delivered, in bytes.';
comment on column raw._batches.rows_read is 'Number of rows found in the file: rows_loaded + rows_rejected.';
comment on column raw._batches.rows_loaded is 'Number of rows that landed in the raw table.';
comment on column raw._batches.rows_rejected is 'Number of lines that could not be rows.';
comment on column raw._batches.first_row_id is 'The _row_id that stands for line 1: the line of a row is _row_id - first_row_id + 1.';
comment on column raw._batches.numbered_by is
'What that arithmetic gives: the physical line on which the row begins, or, in a JSON array with several elements on a line, the number of the element.';
comment on column raw._batches.status is 'loaded, failed (nothing landed, see error) or replaced (its rows are no longer used).';
comment on column raw._batches.error is 'Why the file could not be loaded; null where it was.';
comment on column raw._batches.replaced_by_batch_id is 'The batch that replaced this one; null for any other status.';
comment on column raw._batches.started_at is 'When the load began.';
comment on column raw._batches.finished_at is 'When the load ended.';

create table if not exists raw._rejected_lines (
    batch_id bigint not null references raw._batches (batch_id) deferrable initially deferred,
    line_number bigint not null,
    line text not null,
    reason text not null,
    primary key (batch_id, line_number)
);

comment on table raw._rejected_lines is 'One row per line of a loaded file that could not be a row.';
comment on column raw._rejected_lines.batch_id is 'Batch of the file.';
comment on column raw._rejected_lines.line_number is 'Line of the file, counted from 1 (or the element, see raw._batches.numbered_by).';
comment on column raw._rejected_lines.line is 'Text of the line (the first megabyte), with escapes for what text can not hold.';
comment on column raw._rejected_lines.reason is 'Why the line is no row.';
